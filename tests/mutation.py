"""Change the code that everything rests on, a place at a time, and count what no test notices.

`nox -s mutation` runs it. Every change that cosmic-ray knows is tried but for those of names, and
those that leave the same program but for annotations and docstrings. What survives stands in
tests/mutation.json with the reason why it may; a survivor without one, or more of them than a tenth
of the changes, ends the run.
"""

from __future__ import annotations

import ast
import difflib
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names

ROOT = Path(__file__).parent.parent
RECORD = ROOT / "tests/mutation.json"
MOST = 0.1
"""Share of the changes that may survive."""

TARGETS = {
    "packages/promotion/src/promotion/nn/_sinkhorn.py": ["nn/test_sinkhorn.py"],
    "packages/mept/src/mept/_routing.py": ["test_routing.py"],
    "packages/tokenseek-core/src/tokenseek_core/_selection.py": [
        "test_selection.py",
        "test_selectors.py",
        "test_packed.py",
    ],
    "packages/tokenseek-core/src/tokenseek_core/_replay.py": [
        "test_exactness.py",
        "test_packed.py",
        "test_inject.py",
    ],
}
"""What is changed, and the tests of its package that are to notice."""

SECONDS = 300
"""A change that takes its tests longer counts as noticed."""


class Program(ast.NodeTransformer):
    """What of a module runs."""

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        node.annotation = ast.Constant(0)
        return self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        return ast.Pass() if isinstance(node.value, ast.Constant) else self.generic_visit(node)


def program(code: str) -> str:
    """A module by what runs of it."""
    return ast.dump(Program().visit(ast.parse(code)))


def mutants(code: str) -> Iterator[tuple[str, str]]:
    """Changed modules, each told by its changed lines."""
    known = {program(code)}
    for name in operator_names():
        if "Variable" in name:
            continue
        operator = get_operator(name)()
        for occurrence in count():
            changed = mutate_code(code, operator, occurrence)
            if changed is None:
                break
            try:
                runs = program(changed)
            except SyntaxError:  # of a sign before what is no number
                continue
            if runs in known:
                continue
            known.add(runs)
            lines = list(difflib.unified_diff(code.splitlines(), changed.splitlines(), n=0))[3:]
            sides = (" ".join(line[1:].strip() for line in lines if line[0] == s) for s in "-+")
            yield " -> ".join(sides), changed


def survives(source: Path, folder: Path, tests: list[str]) -> bool:
    """Whether the tests of a package pass with the source in a folder before its own."""
    child = os.fork()
    if not child:
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        os.setsid()
        sys.path.insert(0, str(folder))
        os._exit(_tested(source, tests))
    ends = time.monotonic() + SECONDS
    while time.monotonic() < ends:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status) == 0
        time.sleep(0.02)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def _tested(source: Path, tests: list[str]) -> int:
    import pytest

    folder = source.parents[[part.name for part in source.parents].index("src") + 1] / "tests"
    helpers = f"--override-ini=pythonpath={folder} {ROOT / 'tests'}"
    chosen = [str(folder / name) for name in tests]
    return int(
        pytest.main(
            ["-x", "-q", "--assert=plain", "-p", "no:cacheprovider", "-n0", helpers, *chosen]
        )
    )


def tried(source: Path, tests: list[str]) -> tuple[int, list[str]]:
    """How many changes there were, and those that survived."""
    code = source.read_text()
    package = next(part for part in source.parents if part.parent.name == "src")
    number, survivors = 0, []
    with TemporaryDirectory() as folder:
        copied = Path(folder) / package.name
        shutil.copytree(package, copied)
        target = copied / source.relative_to(package)
        assert survives(source, Path(folder), tests), "the tests fail without any change"
        for told, changed in mutants(code):
            target.write_text(changed)
            number += 1
            if survives(source, Path(folder), tests):
                survivors.append(told)
                sys.stdout.write(f"survives: {told}\n")
                sys.stdout.flush()
    return number, survivors


def main(chosen: list[str]) -> int:
    """Try the files that are named, or all."""
    # Imported once for all changes; the packages themselves are not.
    import torch
    import transformers.models.gpt2.modeling_gpt2
    import transformers.models.llama.modeling_llama  # noqa: F401

    torch.set_num_threads(1)
    record = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    ill = 0
    for name, tests in TARGETS.items():
        if chosen and not any(part in name for part in chosen):
            continue
        number, survivors = tried(ROOT / name, tests)
        reasons = record.get(name, {}).get("survivors", {})
        found = {told: reasons.get(told, "") for told in survivors}
        record[name] = {"changes": number, "survivors": found}
        RECORD.write_text(json.dumps(dict(sorted(record.items())), indent=2) + "\n")
        unexplained = [told for told, reason in found.items() if not reason]
        sys.stdout.write(f"{name}: {len(survivors)} of {number} changes survive\n")
        ill += bool(unexplained) or len(survivors) > MOST * number
    return 1 if ill else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
