from __future__ import annotations

import getpass
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tokenseek_common.env import environment


def test_the_report_has_versions_and_what_the_machine_has() -> None:
    found = environment()
    assert found["python"] == platform.python_version()
    assert found["torch"] == torch.__version__.partition("+")[0] or found["torch"] == (
        torch.__version__
    )
    assert found["tokenseek-common"]
    assert "threads" in found["processor"]
    assert "available" in found["memory"]
    if not torch.accelerator.is_available():
        assert found["devices"] == "cpu"


def test_what_is_not_installed_is_absent() -> None:
    from tokenseek_common import env

    assert env._version("no-such-distribution-of-ours") == "absent"


@pytest.mark.slow
def test_the_command_prints_nothing_private_and_imports_no_library_but_torch() -> None:
    code = (
        "import runpy, sys\n"
        "try: runpy.run_module('tokenseek_common.env', run_name='__main__')\n"
        "except SystemExit as end: assert end.code == 0\n"
        "heavy = {'transformers', 'peft', 'accelerate', 'datasets', 'matplotlib'}\n"
        "assert not heavy & sys.modules.keys()\n"
    )
    told = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True
    )
    assert (told.returncode, told.stderr) == (0, "")
    lines = told.stdout.splitlines()
    assert [line.split()[0] for line in lines] == list(environment())
    assert str(Path.home()) not in told.stdout
    assert platform.node() not in told.stdout or len(platform.node()) < 4
    assert len(getpass.getuser()) < 4 or getpass.getuser() not in told.stdout
