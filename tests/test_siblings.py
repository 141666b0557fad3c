from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from api_surface import public_modules
from workspace import MEMBERS, MODULES, SHARED, Member

# Users of one package may have none of these, and pay for none of them when they import ours.
LEFT_TO_CALLERS = {"datasets", "matplotlib", "peft", "transformers"}


# What importing writes is caught where it is written, below Python too.
IMPORT = """
import importlib, json, os, sys, tempfile
told = {}
for shared, module in json.loads(sys.argv[1]):
    with tempfile.TemporaryFile("w+") as written:
        streams = os.dup(1), os.dup(2)
        os.dup2(written.fileno(), 1), os.dup2(written.fileno(), 2)
        try:
            importlib.import_module(module)
        except BaseException as error:
            print(repr(error))
        sys.stdout.flush(), sys.stderr.flush()
        os.dup2(streams[0], 1), os.dup2(streams[1], 2)
        written.seek(0)
        told[module] = written.read()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        told[module] += "touches an accelerator"
    if shared:
        loaded = list(sys.modules)
print(json.dumps({"told": told, "loaded": loaded}))
"""


@pytest.fixture(scope="module")
def imported() -> dict[str, Any]:
    """What importing told, module by module, and what the shared package alone had loaded.

    In one process, the shared package first, since most of the time goes into torch.
    """
    shared = public_modules(SHARED)
    others = [module for module in MODULES if module != SHARED]
    modules = [(True, module) for module in shared] + [(False, module) for module in others]
    command = [sys.executable, "-W", "error", "-c", IMPORT, json.dumps(modules)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def imported_roots(source: Path) -> Iterator[tuple[str, int]]:
    """Give the top-level name and the line of each import, those inside functions too."""
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"), source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name.partition(".")[0], node.lineno
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module.partition(".")[0], node.lineno


@pytest.mark.parametrize("member", MEMBERS, ids=MODULES)
def test_a_package_imports_no_sibling_but_the_shared_one(member: Member) -> None:
    siblings = set(MODULES) - {member.module, SHARED}
    trespasses = [
        f"{source.relative_to(member.folder)}:{line} imports {name}"
        for source in sorted((member.folder / "src").rglob("*.py"))
        for name, line in imported_roots(source)
        if name in siblings
    ]
    assert not trespasses, "; ".join(trespasses)


@pytest.mark.parametrize("module", MODULES)
def test_importing_a_package_prints_nothing_warns_nothing_and_touches_no_accelerator(
    module: str, imported: dict[str, Any]
) -> None:
    assert imported["told"][module] == ""


def test_the_shared_package_imports_no_library_that_only_some_callers_have(
    imported: dict[str, Any],
) -> None:
    loaded = LEFT_TO_CALLERS & set(imported["loaded"])
    assert not loaded, f"importing {SHARED} and its public modules loads {sorted(loaded)}"
