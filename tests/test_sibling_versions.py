"""A package is not installed beside a minor version of the shared one that it was not made for."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from workspace import MEMBERS, SHARED, Member

COMMON = next(member for member in MEMBERS if member.module == SHARED)
OTHERS = [member for member in MEMBERS if member.module != SHARED]


def save_wheel(folder: Path, member: Member, version: str, requirements: list[str]) -> None:
    """Save a wheel without modules, which a resolver takes for the package."""
    name = member.distribution.replace("-", "_")
    info = f"{name}-{version}.dist-info"
    lines = ["Metadata-Version: 2.1", f"Name: {member.distribution}", f"Version: {version}"]
    lines += [f"Provides-Extra: {extra}" for extra in ("cli", "data", "plot")]
    lines += [f"Requires-Dist: {requirement}" for requirement in requirements]
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{info}/METADATA", "\n".join(lines) + "\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")


def resolved(folder: Path, member: Member) -> subprocess.CompletedProcess[str]:
    """Ask uv for a package whose only sources are the wheels in a folder."""
    command = ["uv", "pip", "install", "--dry-run", f"--python={sys.executable}", "--no-index"]
    command += ["--no-config", f"--find-links={folder}", f"--target={folder / 'installed'}"]
    return subprocess.run(
        [*command, member.distribution], cwd=folder, capture_output=True, text=True, check=False
    )


@pytest.mark.skipif(shutil.which("uv") is None, reason="needs uv")
@pytest.mark.parametrize("member", OTHERS, ids=[member.module for member in OTHERS])
def test_siblings_of_versions_that_do_not_match_are_refused(member: Member, tmp_path: Path) -> None:
    content = tomllib.loads((member.folder / "pyproject.toml").read_text(encoding="utf-8"))
    ours = [r for r in content["project"]["dependencies"] if r.startswith(COMMON.distribution)]
    assert ours
    major, minor = map(int, re.findall(r"\d+", COMMON.version)[:2])
    for version, fits in ((f"{major}.{minor + 1}.0", False), (f"{major}.{minor}.7", True)):
        folder = tmp_path / version
        folder.mkdir()
        save_wheel(folder, member, member.version, ours)
        save_wheel(folder, COMMON, version, [])
        done = resolved(folder, member)
        assert (done.returncode == 0) is fits, done.stderr
        assert (f"{COMMON.distribution}=={version}" in done.stderr) is fits
        if not fits:
            assert "No solution found" in done.stderr
