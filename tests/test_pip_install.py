"""A user without uv: a fresh venv, the pip that comes with it, and `pip install tokenseek-core`."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from workspace import MEMBERS, ROOT, SHARED

CORE = next(member for member in MEMBERS if member.module == "tokenseek_core")
OTHERS = [member.module for member in MEMBERS if member.module not in {CORE.module, SHARED}]

# Nothing of the environment that runs this test may help the one under test.
CLEAN = {
    name: os.environ[name] for name in os.environ if not name.startswith(("PYTHON", "VIRTUAL_ENV"))
}


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, env=CLEAN, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command} failed\n{done.stdout}\n{done.stderr}"
    return done.stdout


def link_torch(python: Path) -> None:
    """Put torch and its dependencies, three gigabytes, into a venv without downloading them."""
    wanted = f"torch=={version('torch')}"
    # From the root, whose pyproject.toml dates the resolution: uv then has every file in its cache.
    run("uv", "pip", "install", "--quiet", f"--python={python}", wanted, cwd=ROOT)


@pytest.mark.slow
@pytest.mark.parametrize(
    "torch_is_there",
    [
        pytest.param(True, id="beside_a_torch"),
        pytest.param(
            False,
            id="from_nothing",
            marks=pytest.mark.skipif(
                "PIP_FROM_NOTHING" not in os.environ,
                reason="downloads and unpacks all of torch; a release sets PIP_FROM_NOTHING=1",
            ),
        ),
    ],
)
def test_plain_pip_installs_a_working_tokenseek_core(tmp_path: Path, torch_is_there: bool) -> None:
    if not CORE.wheel.exists():
        pytest.skip(f"dist/{CORE.wheel.name} is missing; `uv run nox -s build` makes it")
    run(sys.executable, "-m", "venv", tmp_path / "venv", cwd=tmp_path)
    scripts = tmp_path / "venv" / ("Scripts" if os.name == "nt" else "bin")
    python = scripts / "python"
    if torch_is_there:
        link_torch(python)

    wanted = f"{CORE.distribution}=={CORE.version}"
    dist = str(ROOT / "dist")
    # Compiling transformers to bytecode takes longer than all the rest, and shows nothing.
    options = ["--quiet", "--no-compile", "--find-links", dist]
    run(python, "-m", "pip", "install", *options, wanted, cwd=tmp_path)

    run(python, "-m", "pip", "check", cwd=tmp_path)
    assert "usage" in run(scripts / "tokenseek", "--help", cwd=tmp_path).lower()
    origin = run(python, "-c", "import tokenseek_core as t; print(t.__file__)", cwd=tmp_path)
    assert Path(origin.strip()).is_relative_to(tmp_path)
    find = f"from importlib.util import find_spec; print(*map(find_spec, {OTHERS}))"
    assert set(run(python, "-c", find, cwd=tmp_path).split()) == {"None"}
