"""The three command lines answer the same mistakes alike."""

from __future__ import annotations

import builtins
import errno
import io
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

import mept.cli
import promotion.cli
import tokenseek_core.cli
from saved import mood_rows, save_rows, save_tiny

torch.set_num_threads(1)

TRAINING = """
model: {size: nano}
workers: 0
held_out: 1
stages:
  - {name: flow, steps: 1, batch_size: 1, sizes: [[32, 40]], tasks: [flow], iterations: 1}
"""


@dataclass(frozen=True)
class Line:
    """A command with data: how it is called on a model and a file, and which file suits it."""

    main: Callable[..., int]
    command: str
    suffix: str
    text: str


LINES = {
    "tokenseek finetune": Line(
        tokenseek_core.cli.main,
        "finetune --model {model} --data {file} --max-length 32 --steps 1",
        ".jsonl",
        '{"instruction": "the old day", "output": "sun song"}\n' * 4,
    ),
    "tokenseek advise": Line(
        tokenseek_core.cli.main,
        "advise --model {model} --data {file} --length 32",
        ".jsonl",
        '{"instruction": "the old day", "output": "sun song"}\n' * 4,
    ),
    "mept train": Line(
        mept.cli.main,
        "train --model {model} --task mood={file} --labels glad sad --steps 1 --num-virtual-tokens "
        "3 --no-generation",
        ".jsonl",
        "",
    ),
    "promotion train": Line(promotion.cli.main, "train --config {file}", ".yaml", TRAINING),
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("model") / "llama", "llama")


class Called:
    """One of the command lines, with what it needs."""

    def __init__(self, name: str, model: Path, folder: Path, capsys: Any) -> None:
        self.line, self.model, self.capsys = LINES[name], model, capsys
        self.output = folder / "run"
        self.file = folder / f"given{self.line.suffix}"
        if self.line.text:
            self.file.write_text(self.line.text)
        else:
            save_rows(self.file, mood_rows(20))

    def refused(self, code: int, *options: str) -> str:
        """The one sentence that it tells on stderr."""
        command = self.line.command.format(model=self.model, file=self.file).split()
        command += ["--output", str(self.output), "--device", "cpu", "--quiet", *options]
        self.capsys.readouterr()
        assert self.line.main(command) == code
        out, err = self.capsys.readouterr()
        assert out == ""
        assert err.startswith("error: ")
        assert err.count("\n") == 1
        assert "Traceback" not in err
        return str(err.removeprefix("error: ").rstrip("\n"))


@pytest.fixture(params=LINES)
def called(
    request: pytest.FixtureRequest, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Called:
    return Called(request.param, model, tmp_path, capsys)


SENTENCE = re.compile(r"[\w ]+ \(.+\) must .+; .+|.+ must .+; .+")


def test_a_missing_file_is_named(called: Called) -> None:
    called.file.unlink()
    said = called.refused(2)
    assert SENTENCE.fullmatch(said)
    assert str(called.file) in said
    assert not called.output.exists()


def test_a_malformed_file_is_named(called: Called) -> None:
    called.file.write_text('{"a": [1,\n')
    said = called.refused(2)
    assert SENTENCE.fullmatch(said)
    assert called.file.name in said
    assert not called.output.exists()


def test_an_output_that_holds_something_is_left_alone(called: Called) -> None:
    called.output.mkdir()
    (called.output / "mine").write_text("kept")
    assert called.refused(2) == (
        f"output ({called.output}) must be an empty or new folder; choose another --output"
    )
    assert [path.name for path in called.output.iterdir()] == ["mine"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--seed", "-1"), "seed (-1) must be from 0 to 4294967295; choose another --seed"),
        (("--sede", "1"), "unrecognized option --sede, perhaps --seed; see {} --help"),
    ],
)
def test_a_value_or_an_option_that_cannot_be_is_refused(
    called: Called, options: tuple[str, str], expected: str, request: pytest.FixtureRequest
) -> None:
    name = request.node.callspec.params["called"]
    assert called.refused(2, *options) == expected.format(name)
    assert not called.output.exists()


def test_a_device_that_is_not_there_is_refused(called: Called) -> None:
    said = called.refused(2, "--device", "abacus")
    assert said.startswith("device (abacus) must be ")
    assert not called.output.exists()


def test_a_full_disk_at_the_first_file_is_told(
    called: Called, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(opened: Any, write: Callable[[Any], bool]) -> Callable[..., Any]:
        def open_(file: Any, mode: Any = "r", *args: Any, **kwargs: Any) -> Any:
            inside = isinstance(file, str | Path) and str(file).startswith(str(called.output))
            if inside and write(mode):
                raise OSError(errno.ENOSPC, "No space left on device", str(file))
            return opened(file, mode, *args, **kwargs)

        return open_

    def writes(mode: str) -> bool:
        return any(letter in mode for letter in "wax+")

    monkeypatch.setattr(builtins, "open", full(builtins.open, writes))
    monkeypatch.setattr(io, "open", full(io.open, writes))
    monkeypatch.setattr(os, "open", full(os.open, lambda flags: bool(flags & os.O_CREAT)))
    path, remedy = called.refused(2).split(" ", maxsplit=1)
    assert Path(path).parent == called.output
    assert remedy == (
        "must be writable (No space left on device); make its folder or choose another path"
    )


def test_an_interrupted_training_ends_with_130(
    called: Called, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*args: Any, **kwargs: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(torch.Tensor, "backward", interrupted)
    assert called.refused(130) == "interrupted"
