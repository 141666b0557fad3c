from __future__ import annotations

import importlib
import json
import runpy
import subprocess
import sys
from dataclasses import fields
from typing import get_type_hints

import pytest

from tokenseek_common.cli import CommandPlace

MODULES = ("tokenseek_core", "mept", "promotion")

# Each takes a second or more to import; importing mept is to add its method to PEFT.
HEAVY = ("accelerate", "datasets", "kornia", "matplotlib", "peft", "torch", "transformers")
LISTS = """
import json, sys
from promotion.cli import main as promotion
from tokenseek_core.cli import main as tokenseek
codes = [promotion(["--help"]), tokenseek(["--help"]), promotion(["--version"])]
print(json.dumps([codes, [name for name in %r if name in sys.modules]]))
"""


def test_the_list_of_commands_waits_for_nothing_that_takes_long_to_import() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LISTS % (HEAVY,)], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout.splitlines()[-1]) == [[0, 0, 0], []]


@pytest.mark.parametrize("module", MODULES)
def test_the_list_of_commands_says_of_each_what_its_own_help_begins_with(module: str) -> None:
    commands = importlib.import_module(f"{module}.cli._main").COMMANDS
    for place in commands.values():
        assert isinstance(place, CommandPlace)
        assert (place.load().__doc__ or "").splitlines()[0] == place.summary


@pytest.mark.parametrize("module", MODULES)
def test_a_package_run_as_a_module_is_its_command_line(
    module: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [module, "--version"])
    with pytest.raises(SystemExit) as left:
        runpy.run_module(module, run_name="__main__")
    assert left.value.code == 0
    prog = {"tokenseek_core": "tokenseek"}.get(module, module)
    assert capsys.readouterr().out == f"{prog} {importlib.import_module(module).__version__}\n"


@pytest.mark.parametrize("module", MODULES)
def test_a_switch_that_is_on_is_described_by_what_taking_it_away_does(module: str) -> None:
    for name, place in importlib.import_module(f"{module}.cli._main").COMMANDS.items():
        command = place.load()
        hints = get_type_hints(command, include_extras=True)
        for field in fields(command):
            if field.default is True:
                told = [note.help for note in getattr(hints[field.name], "__metadata__", ())]
                assert told, f"{name} --no-{field.name} must be described by on_unless"
