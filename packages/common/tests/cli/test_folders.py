from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tokenseek_common import InputError
from tokenseek_common.cli import check_folder, fresh_folder


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def refused(output: Path) -> str:
    before = sorted(Path.cwd().rglob("*"))
    with pytest.raises(InputError) as checked:
        check_folder(output)
    with pytest.raises(InputError) as created:
        fresh_folder(output, default="train")
    assert str(checked.value) == str(created.value)
    assert sorted(Path.cwd().rglob("*")) == before, "a refusal writes nothing"
    return str(created.value)


def test_without_an_output_the_first_free_number_is_taken() -> None:
    Path("train-001").mkdir()
    Path("train-002").write_text("a file takes a number too")
    assert fresh_folder(None, default="train") == Path("train-003")
    assert fresh_folder(None, default="train") == Path("train-004")
    assert Path("train-004").is_dir()


def test_runs_that_start_at_once_get_a_folder_each() -> None:
    with ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(lambda _: fresh_folder(None, default="train"), range(16)))
    assert len(set(folders)) == 16


def test_a_new_folder_is_made_with_its_parents() -> None:
    assert fresh_folder(Path("a/b"), default="train") == Path("a/b")
    assert Path("a/b").is_dir()


def test_an_empty_folder_is_taken() -> None:
    Path("a").mkdir()
    assert fresh_folder(Path("a"), default="train") == Path("a")


def test_a_folder_may_begin_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert fresh_folder(Path("~/a"), default="train") == tmp_path / "a"


def test_a_check_creates_nothing() -> None:
    check_folder(Path("a/b"))
    check_folder(None)
    assert list(Path.cwd().iterdir()) == []


def test_a_folder_that_holds_something_is_refused() -> None:
    Path("a").mkdir()
    Path("a/kept").touch()
    assert refused(Path("a")) == (
        "output (a) must be an empty or new folder; choose another --output"
    )


def test_a_file_is_refused() -> None:
    Path("a").touch()
    assert refused(Path("a")) == (
        "output (a) must be an empty or new folder; choose another --output"
    )


def test_a_folder_below_a_file_is_refused() -> None:
    Path("a").touch()
    assert refused(Path("a/b")) == "output (a/b) must be writable; choose another --output"


def test_a_folder_that_cannot_be_written_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert refused(Path("a")) == "output (a) must be writable; choose another --output"


def test_a_folder_that_cannot_be_made_is_told_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "mkdir", full)
    with pytest.raises(InputError) as error:
        fresh_folder(None, default="train")
    assert str(error.value) == (
        "output (train) must be writable (No space left on device); choose another --output"
    )
