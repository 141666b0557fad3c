"""What SECURITY.md promises of the sources."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from workspace import MEMBERS, MODULES, Member

UNPICKLE = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}


def found_in(path: Path) -> list[str]:
    """What a source does that it must not."""
    told = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        told += [f"imports {name}" for name in names if name.split(".")[0] in UNPICKLE]
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        given = {word.arg: ast.unparse(word.value) for word in node.keywords}
        if called == "torch.load" and given.get("weights_only") != "True":
            told.append("calls torch.load without weights_only=True")
        if given.get("allow_pickle", "False") != "False":
            told.append("sets allow_pickle")
        if given.get("trust_remote_code", "False") != "False":
            told.append("sets trust_remote_code")
        if called == "yaml.load":
            told.append("calls yaml.load")
    return told


@pytest.mark.parametrize("member", MEMBERS, ids=MODULES)
def test_no_source_unpickles_or_runs_what_it_reads(member: Member) -> None:
    sources = sorted((member.folder / "src").rglob("*.py"))
    assert sources
    told = {path.name: found for path in sources if (found := found_in(path))}
    assert not told


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import pickle", "imports pickle"),
        ("from joblib import load", "imports joblib"),
        ("torch.load(p)", "calls torch.load without weights_only=True"),
        ("np.load(p, allow_pickle=True)", "sets allow_pickle"),
        ("f(trust_remote_code=self.trust)", "sets trust_remote_code"),
        ("yaml.load(text)", "calls yaml.load"),
    ],
)
def test_what_is_looked_for_is_found(tmp_path: Path, source: str, said: str) -> None:
    path = tmp_path / "a.py"
    path.write_text(f"{source}\ntorch.load(q, weights_only=True)\nnp.load(q, allow_pickle=False)")
    assert found_in(path) == [said]
