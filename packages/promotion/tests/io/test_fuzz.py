"""The first twenty thousand files of `nox -s fuzz`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

import fuzzing
from promotion.io import FileFormatError
from tokenseek_common import InputError

FILES = 20_000


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, FILES, FILES // 2))
def test_damaged_files_are_refused_in_one_sentence_or_valid(
    tmp_path: Path, first: int, capfd: pytest.CaptureFixture[str]
) -> None:
    assert fuzzing.faults(range(first, first + FILES // 2), tmp_path) == {}
    capfd.readouterr()  # libtiff prints


def test_what_is_wrong_with_a_reader_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "flow.flo"
    fuzzing.READERS[path.name].make(path)

    def reader(content: object) -> fuzzing.Reader:
        return fuzzing.Reader(lambda _: content, fuzzing.by_pillow)

    def raising(error: Exception) -> fuzzing.Reader:
        def read(path: Path) -> object:
            raise error

        return fuzzing.Reader(read, fuzzing.by_pillow)

    assert fuzzing.fault(path, reader(None)) is None
    assert fuzzing.fault(path, raising(OSError("gone"))) == "OSError: gone"
    assert fuzzing.fault(path, raising(InputError("a"))) == "InputError: a"
    assert fuzzing.fault(path, raising(FileFormatError("a"))) == "no sentence: a"
    assert fuzzing.fault(path, raising(FileFormatError("a must b; c"))) is None
    peaks = iter([0, 2**30, 2**30])
    monkeypatch.setattr(fuzzing, "peak_bytes", lambda: next(peaks))
    assert fuzzing.fault(path, reader(None)) == "grown by 1024 MiB"


def test_a_run_goes_on_and_keeps_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[range] = []

    def run_batch(numbers: range) -> dict[int, str]:
        asked.append(numbers)
        return {numbers.start: "flow.flo: bad"} if numbers.start == 4 else {}

    monkeypatch.setattr(fuzzing, "run_batch", run_batch)
    monkeypatch.setattr(fuzzing, "BATCH", 4)
    for count, code in ((4, 0), (9, 1)):
        arguments = ["fuzzing", "--count", str(count), "--folder", str(tmp_path)]
        monkeypatch.setattr(sys, "argv", arguments)
        with pytest.raises(SystemExit) as ended:
            fuzzing.main()
        assert ended.value.code == code
    assert asked == [range(4), range(4, 8), range(8, 9)]
    state = json.loads((tmp_path / "state.json").read_text())
    assert state == {"done": 9, "wrong": {"4": "flow.flo: bad"}}
    assert len(list(tmp_path.glob("4-*"))) == 1
    assert capsys.readouterr().out.endswith("9 files, 1 of them wrong\n")
