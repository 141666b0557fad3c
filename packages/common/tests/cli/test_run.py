from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import pytest
import tyro

from tokenseek_common import InputError, RunError
from tokenseek_common.cli import CommandPlace, CommonOptions, Console, run


@dataclass(frozen=True)
class Method:
    """The method."""

    experts: int = field(default=2, metadata={"help": "How many experts."})

    def __post_init__(self) -> None:
        if self.experts < 1:
            raise InputError(f"experts ({self.experts}) must be at least 1; raise it")


@dataclass(frozen=True, kw_only=True)
class Train(CommonOptions):
    """Fine-tune a model.

    The longer story.
    """

    model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """Folder or hub id."""

    rate: float = 1e-3
    """Learning rate."""

    steps: tuple[int, int] = (1, 2)
    method: Method = field(default_factory=Method)
    checkpoint: bool = True
    """Checkpoint activations."""

    def run(self, console: Console) -> None:
        failures: dict[str, BaseException] = {
            "input": InputError("rate (9) must be\nbelow 1; lower it"),
            "failure": RunError("loss (nan) must be finite; lower the rate"),
            "interrupt": KeyboardInterrupt(),
            "saved": KeyboardInterrupt("ended at step 5, saved"),
            "surprise": LookupError("\nnot there\nat all"),
            "silence": LookupError(),
        }
        if self.model in failures:
            raise failures[self.model]
        sys.stdout.write("a library prints\n")
        console.note("a note")
        console.table("Losses", ["step", "loss"], [[1, 0.5]])
        with console.progress("training", total=1) as progress:
            progress.advance()
        console.result({"model": self.model, "experts": self.method.experts})


@dataclass(frozen=True, kw_only=True)
class Inspect(CommonOptions):
    """Look at a model."""

    def run(self, console: Console) -> None:
        console.print(self.checkpointed())

    def checkpointed(self) -> str:
        return f"seed {self.seed} on {self.device}"


def demo(*argv: str) -> int:
    return run(
        {"train": Train, "inspect": Inspect},
        prog="demo",
        description="A demonstration.",
        version="1.2.3",
        argv=argv,
    )


HELP = """\
usage: demo <command> [options]

A demonstration.

  train    Fine-tune a model.
  inspect  Look at a model.

Options of a command: demo <command> --help. Version: demo --version.
"""


def test_help_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert demo("--help") == 0
    assert capsys.readouterr() == (HELP, "")


def test_no_arguments_show_help_and_fail(capsys: pytest.CaptureFixture[str]) -> None:
    assert demo() == 2
    assert capsys.readouterr() == ("", HELP)


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert demo("--version") == 0
    assert capsys.readouterr() == ("demo 1.2.3\n", "")


def test_a_command_has_help_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert demo("train", "--help") == 0
    out, err = capsys.readouterr()
    assert "The longer story." in out
    assert "Learning rate." in out
    assert "--experts INT" in out, "the options of a nested dataclass have no prefix"
    assert "How many experts." in out
    assert "--no-checkpoint" in out
    assert "--no-quiet" not in out
    assert err == ""


def test_a_command_runs_with_its_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert demo("inspect", "--seed", "3", "--device=cpu") == 0
    assert capsys.readouterr().out == "seed 3 on cpu\n"


def test_what_is_human_is_split_between_the_streams(capsys: pytest.CaptureFixture[str]) -> None:
    assert demo("train", "tiny") == 0
    out, err = capsys.readouterr()
    assert "Losses" in out
    assert err.splitlines()[0] == "a note"
    assert err.splitlines()[1].startswith("training 1/1")


def test_json_leaves_stdout_to_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    assert demo("train", "tiny", "--json", "--experts", "5") == 0
    out, err = capsys.readouterr()
    assert out.count("\n") == 1
    assert json.loads(out) == {"model": "tiny", "experts": 5}
    assert "Losses" in err
    assert "a library prints" in err


def test_quiet_silences_all_but_errors(capsys: pytest.CaptureFixture[str]) -> None:
    assert demo("train", "tiny", "--quiet") == 0
    assert capsys.readouterr() == ("a library prints\n", "")
    assert demo("train", "failure", "--quiet") == 1
    assert capsys.readouterr().err == "error: loss (nan) must be finite; lower the rate\n"


@pytest.mark.parametrize(
    ("model", "code", "told"),
    [
        ("input", 2, "rate (9) must be below 1; lower it"),
        ("failure", 1, "loss (nan) must be finite; lower the rate"),
        ("interrupt", 130, "interrupted"),
        ("saved", 130, "ended at step 5, saved"),
        ("surprise", 1, "LookupError: not there; run again with --debug for the traceback"),
        ("silence", 1, "LookupError; run again with --debug for the traceback"),
    ],
)
def test_a_failure_is_one_sentence_and_an_exit_code(
    model: str, code: int, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert demo("train", model, "--json") == code
    assert capsys.readouterr() == ("", f"error: {told}\n")


@pytest.mark.parametrize("model", ["input", "failure", "surprise"])
def test_debug_shows_the_traceback(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert demo("train", model, "--debug") in (1, 2)
    err = capsys.readouterr().err
    assert err.startswith("Traceback")
    assert err.splitlines()[-1].startswith("error: ")
    assert "--debug" not in err.splitlines()[-1]


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        ("trian m", "command (trian) must be one of train, inspect; did you mean train?"),
        ("xyz", "command (xyz) must be one of train, inspect; see demo --help"),
        (
            "--seed 3 train m",
            "command (--seed) must come before its options; write demo <command> --seed",
        ),
        ("train", "MODEL must be given; see demo train --help"),
        (
            "train --rat 1 m",
            "unrecognized option --rat, perhaps --rate; see demo train --help",
        ),
        ("train m --qqq", "unrecognized option --qqq; see demo train --help"),
        (
            "train m --no-quiet",
            "unrecognized option --no-quiet, perhaps --quiet; see demo train --help",
        ),
        ("train m --quiet yes", "unrecognized argument yes; see demo train --help"),
        ("train m --rate x", "--rate (x) must be a number; see demo train --help"),
        ("train m --seed 1.5", "--seed (1.5) must be a whole number; see demo train --help"),
        ("train m --rate", "--rate must be given a value; see demo train --help"),
        ("train m --steps 1", "--steps must be given 2 values; see demo train --help"),
        (
            "train m --dtype int8",
            "--dtype (int8) must be one of ('auto', 'float32', 'bfloat16', 'float16', 'float64'); "
            "see demo train --help",
        ),
        (
            "train m --steps a b",
            "--steps: Could not parse arguments ['a', 'b'] into tuple type typing.Tuple[int, int]; "
            "see demo train --help",
        ),
        ("train m --experts 0", "experts (0) must be at least 1; raise it"),
        (
            "train m --seed -1",
            "seed (-1) must be from 0 to 4294967295; choose another --seed",
        ),
    ],
)
def test_a_mistake_on_the_command_line_is_told_in_a_sentence(
    argv: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert demo(*argv.split()) == 2
    assert capsys.readouterr() == ("", f"error: {told}\n")


SCRIPT = """
import sys
from dataclasses import dataclass
from tokenseek_common.cli import CommonOptions, run

@dataclass(frozen=True, kw_only=True)
class Long(CommonOptions):
    def run(self, console):
        for line in range(20_000):
            console.print(line)

sys.exit(run({"long": Long}, prog="demo", description="Prints.", version="1"))
"""


def script(tmp_path: Path, *argv: str) -> list[str]:
    path = tmp_path / "demo.py"
    path.write_text(SCRIPT)
    return [sys.executable, str(path), *argv]


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    with subprocess.Popen(
        script(tmp_path, "long"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(timeout=600) == 1


def test_a_mistake_is_told_where_only_ascii_can_be_printed(tmp_path: Path) -> None:
    told = subprocess.run(
        script(tmp_path, "long", "--sed", "1"),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )
    assert told.stderr == "error: unrecognized option --sed, perhaps --seed; see demo long --help\n"
    assert told.returncode == 2


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_stream_that_the_caller_has_closed_is_no_error(
    stream: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, stream, None)  # as Python does where it was started with >&-
    assert demo("train", "m") == 0
    assert demo("train", "input") == 2
    getattr(sys, stream).close()


def test_a_command_may_be_given_by_its_place(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "placed.py").write_text(SCRIPT.partition("sys.exit")[0])
    monkeypatch.syspath_prepend(tmp_path)
    places = {"long": CommandPlace("Prints much.", "placed", "Long")}

    def placed(*argv: str) -> int:
        return run(places, prog="demo", description="Prints.", version="1", argv=argv)

    assert placed("--help") == 0
    assert "  long  Prints much." in capsys.readouterr().out
    assert "placed" not in sys.modules
    assert placed("long", "--quiet") == 0
    assert sys.modules.pop("placed")
