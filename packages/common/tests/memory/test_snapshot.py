"""When the allocator's memory is written, and when it is not: on a GPU that only pretends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tokenseek_common import InputError
from tokenseek_common.memory import cuda_snapshot


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What CUDA's allocator was asked for, in order."""
    calls: list[Any] = []

    def dump(path: str) -> None:
        calls.append("dump")
        Path(path).write_bytes(b"snapshot")

    def record(enabled: str | None = "all", *, max_entries: int = 0) -> None:
        calls.append(enabled)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda.memory, "_dump_snapshot", dump)
    monkeypatch.setattr(torch.cuda.memory, "_record_memory_history", record)
    return calls


def test_the_snapshot_is_written_at_the_end(tmp_path: Path, recorded: list[Any]) -> None:
    with cuda_snapshot(tmp_path / "step.pickle"):
        assert recorded == ["all"]
    assert recorded == ["all", "dump", None]
    assert (tmp_path / "step.pickle").read_bytes() == b"snapshot"


def test_the_snapshot_is_written_when_it_is_asked_for(tmp_path: Path, recorded: list[Any]) -> None:
    with cuda_snapshot(tmp_path / "step.pickle", only_if_out_of_memory=True) as write:
        write()
        assert recorded == ["all", "dump"]
    assert recorded == ["all", "dump", None]


@pytest.mark.parametrize("only", [True, False])
def test_the_snapshot_is_written_when_memory_runs_out(
    tmp_path: Path, recorded: list[Any], only: bool
) -> None:
    def runs_out() -> None:
        raise torch.OutOfMemoryError("no memory")

    with (
        pytest.raises(torch.OutOfMemoryError),
        cuda_snapshot(tmp_path / "step.pickle", only_if_out_of_memory=only),
    ):
        runs_out()
    assert recorded == ["all", "dump", None]


@pytest.mark.parametrize("error", [None, ValueError])
def test_otherwise_nothing_is_written_and_recording_ends(
    tmp_path: Path, recorded: list[Any], error: type[Exception] | None
) -> None:
    def step() -> None:
        if error is not None:
            raise error

    try:
        with cuda_snapshot(tmp_path / "step.pickle", only_if_out_of_memory=True):
            step()
    except ValueError:
        assert error is ValueError
    assert recorded == ["all", None]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is CUDA")
def test_without_cuda_there_is_nothing_to_write(tmp_path: Path) -> None:
    with pytest.raises(InputError) as refusal, cuda_snapshot(tmp_path / "step.pickle"):
        pass
    assert str(refusal.value) == (
        "device (cpu) must be a GPU of CUDA, whose allocator alone remembers its blocks; on other "
        "devices keep the books of a step with ledger(..., timeline=True)"
    )


def test_the_folder_must_exist(tmp_path: Path, recorded: list[Any]) -> None:
    folder = tmp_path / "absent"
    with pytest.raises(InputError) as refusal, cuda_snapshot(folder / "step.pickle"):
        pass
    assert str(refusal.value) == (
        f"path ({folder / 'step.pickle'}) must lie in a folder that exists; make {folder}"
    )
    assert recorded == []
