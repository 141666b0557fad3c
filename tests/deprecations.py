"""What the sources warn of that is to go, and until when it stays."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import NamedTuple

from packaging.version import Version

FORM = re.compile(r"(?P<name>.+) is deprecated and goes with (?P<version>\d+\.\d+); use .+")
WARNINGS = {"DeprecationWarning", "FutureWarning", "PendingDeprecationWarning"}


class Deprecation(NamedTuple):
    """One thing that is to go."""

    name: str
    goes_with: Version


def deprecations(source: str) -> Iterator[Deprecation]:
    """Give what a module deprecates.

    Raises:
        ValueError: A warning does not say what goes, when, and what to use.
    """
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func).split(".")[-1]
        names = {ast.unparse(each) for each in (*node.args, *(k.value for k in node.keywords))}
        if called == "deprecated" or (called.startswith("warn") and names & WARNINGS):
            first = node.args[0] if node.args else None
            told = str(first.value) if isinstance(first, ast.Constant) else ""
            found = FORM.fullmatch(told)
            if found is None:
                raise ValueError(
                    f"line {node.lineno} ({told}) must be <name> is deprecated and goes with "
                    "<version>; use <what>"
                )
            yield Deprecation(found["name"], Version(found["version"]))
