"""The messages in the packages' sources, as texts with … for each value."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from workspace import MEMBERS

VALUE = "…"


def text_of(node: ast.expr) -> str | None:
    """A string, or an f-string whose values are left out; None is anything else."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        parts = (part.value if isinstance(part, ast.Constant) else VALUE for part in node.values)
        return "".join(map(str, parts))
    return None


def messages() -> Iterator[str]:
    """Every text in the sources of the four packages."""
    for member in MEMBERS:
        for path in sorted((member.folder / "src").rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.expr) and (text := text_of(node)):
                    yield text
