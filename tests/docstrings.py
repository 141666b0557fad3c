"""What the reference reads besides docstrings as griffe knows them, as zensical.toml says."""

from __future__ import annotations

import ast
import re
from typing import Any

import griffe


class Docstrings(griffe.Extension):
    """Takes our `Example:` for a section of examples, and the help of a field for its docstring."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Name the sections as griffe does."""
        if obj.docstring is None:
            return
        text = re.sub(r"(?m)^Example:$", "Examples:", obj.docstring.value)
        if isinstance(obj, griffe.Class) and "NamedTuple" in map(str, obj.bases):
            text = re.sub(r"(?m)^Args:$", "Attributes:", text)  # griffe sees no __init__
        obj.docstring.value = text

    def on_attribute_instance(self, *, attr: griffe.Attribute, **kwargs: Any) -> None:
        """Show the default of a `field(...)`, and its help where that is all it says."""
        options = field_options(str(attr.value))
        if told := options.get("help"):
            attr.docstring = attr.docstring or griffe.Docstring(
                f"{told[0].upper()}{told[1:]}.", parent=attr
            )
        if options:
            attr.value = options.get("default")


def field_options(value: str) -> dict[str, str]:
    """Give the default and the help of a `field(...)`, as source and text; nothing of all else."""
    call = ast.parse(value, mode="eval").body
    if not (isinstance(call, ast.Call) and ast.unparse(call.func) == "field"):
        return {}
    options = {str(each.arg): each.value for each in call.keywords}
    found = {"is": "field"}
    if "default" in options:
        found["default"] = ast.unparse(options["default"])
    if "metadata" in options:
        found["help"] = ast.literal_eval(options["metadata"])["help"]
    return found
