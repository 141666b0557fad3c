from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from workspace import MEMBERS, MODULES, ROOT, Member

# Where packages come from and where a checkout lies is each reader's own affair.
NAMES_OF_PLACES = re.compile(
    r"""
    pypi\.(?:org|python\.org) | pythonhosted\.org | download\.pytorch\.org | registry\.npmjs\.org
    | (?<![\w.~$}])/(?:root|home|Users|work|opt)/\w    # an absolute path of somebody's machine
    """,
    re.VERBOSE,
)


def repository_files() -> list[Path]:
    """Give the files that are tracked, or would be if all were added now."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("needs git and a checkout")
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    paths = [ROOT / name for name in listed.split("\0") if name]
    return [path for path in paths if path.is_file()]


def test_no_file_names_a_package_index_or_a_path_of_one_machine() -> None:
    found = []
    for path in repository_files():
        lines = path.read_text(encoding="utf-8", errors="ignore").splitlines()
        for number, line in enumerate(lines, start=1):
            if match := NAMES_OF_PLACES.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number} says {match[0]}")
    assert not found, "\n".join(found)


def test_ci_runs_the_commands_that_the_readme_promises() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "uv run tokenseek demo" in readme
    assert "uv run nox" in readme
    assert ci.rstrip().endswith("\nuv run nox"), ".ci/run must end with the README's test command"


@pytest.mark.parametrize("member", MEMBERS, ids=MODULES)
def test_a_package_carries_the_licence_of_the_repository(member: Member) -> None:
    assert (member.folder / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
