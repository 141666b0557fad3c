from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from api_surface import public_modules
from workspace import MEMBERS, MODULES, SHARED, Member

# Users of one package may have none of these, and pay for none of them when they import ours.
LEFT_TO_CALLERS = {"datasets", "matplotlib", "peft", "transformers"}


def run_python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


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
    module: str,
) -> None:
    done = run_python(
        "import importlib, sys\n"
        "importlib.import_module(sys.argv[1])\n"
        "torch = sys.modules.get('torch')\n"
        "assert torch is None or not torch.cuda.is_initialized()",
        module,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_shared_package_imports_no_library_that_only_some_callers_have() -> None:
    done = run_python(
        "import importlib, sys\n"
        "for module in sys.argv[1:]:\n"
        "    importlib.import_module(module)\n"
        "print(*sys.modules)",
        *public_modules(SHARED),
    )
    assert done.returncode == 0, done.stderr
    loaded = LEFT_TO_CALLERS & set(done.stdout.split())
    assert not loaded, f"importing {SHARED} and its public modules loads {sorted(loaded)}"
