from __future__ import annotations

import shutil
from collections import namedtuple
from pathlib import Path

import pytest
import torch
from filelock import FileLock

from tokenseek_common import InputError, RunError
from tokenseek_common.training import LostProcessError, Processes, claimed, saving

Usage = namedtuple("Usage", ["total", "used", "free"])


def test_a_folder_is_held_by_one_run_and_free_after_it(tmp_path: Path) -> None:
    with claimed(tmp_path):
        with pytest.raises(InputError) as error, claimed(tmp_path):
            pass
        assert str(error.value) == (
            f"output ({tmp_path}) must not be in use, and another run trains there; wait for it, "
            "or choose another --output"
        )
    assert list(tmp_path.iterdir()) == []
    with claimed(tmp_path):
        pass


def test_a_file_system_without_locks_is_written_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(lock: FileLock, timeout: float) -> None:
        raise NotImplementedError

    monkeypatch.setattr(FileLock, "acquire", refuse)
    with claimed(tmp_path):
        (tmp_path / "weights").touch()
    assert [path.name for path in tmp_path.iterdir()] == ["weights"]


def test_a_folder_that_cannot_be_written_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(lock: FileLock, timeout: float) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(FileLock, "acquire", refuse)
    with pytest.raises(InputError) as error, claimed(tmp_path):
        pass
    assert str(error.value) == (
        f"{tmp_path / '.running'} must be writable (No space left on device); make its folder or "
        "choose another path"
    )


@pytest.mark.parametrize(
    ("free", "error", "reason"),
    [
        (0, RuntimeError("unexpected pos 64 vs 0"), "no space is left"),
        (1 << 30, OSError(13, "Permission denied"), "[Errno 13] Permission denied"),
        (1 << 30, ValueError(), "ValueError"),
    ],
    ids=["full", "forbidden", "mute"],
)
def test_what_cannot_be_saved_is_told_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, error: Exception, reason: str
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(1 << 40, 0, free))
    with pytest.raises(RunError) as raised, saving(tmp_path, "go on"):
        raise error
    assert str(raised.value) == (
        f"output ({tmp_path}) must be writable, and could not be saved to ({reason}); make room "
        "there, and go on"
    )


LOST = RuntimeError("[gloo/transport/tcp/pair.cc:561] Connection closed by peer")


@pytest.mark.parametrize("error", [LOST, InputError("value"), RunError("loss")], ids=str)
def test_what_is_no_fault_of_the_disk_is_told_as_it_is(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(type(error)) as raised, saving(tmp_path, "go on"):
        raise error
    assert raised.value is error


def test_that_another_process_has_ended_is_told_in_a_sentence() -> None:
    two = Processes(2, 0, torch.device("cpu"))
    with pytest.raises(LostProcessError) as raised, two.together(lambda: "step 3 is whole"):
        raise LOST
    assert str(raised.value) == (
        "another process of the training has ended; see what it said, and go on with the same "
        "options and --resume (step 3 is whole)"
    )


@pytest.mark.parametrize("count", [1, 2])
def test_other_errors_are_those_of_this_process(count: int) -> None:
    error = RuntimeError("out of memory") if count == 2 else LOST
    processes = Processes(count, 0, torch.device("cpu"))
    with pytest.raises(RuntimeError) as raised, processes.together(str):
        raise error
    assert raised.value is error
