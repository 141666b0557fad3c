"""Bytes of a block, on the CPU and on an accelerator that the tests play."""

import time
from pathlib import Path

import pytest
import torch

from tokenseek_common.memory import _resident, measure

torch.set_num_threads(1)

MIB = 2**20
SLACK = 4 * MIB  # what an interpreter gets and gives back by itself

needs_a_mark = pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="the kernel's mark can't be reset here"
)


def fill(mebibytes: int) -> torch.Tensor:
    """Touches every page, so that it is resident."""
    return torch.ones(mebibytes * MIB, dtype=torch.uint8)


@needs_a_mark
def test_the_mark_sees_what_is_freed_at_once() -> None:
    with measure("cpu") as reading:
        del_me = fill(64)
        del del_me
    report = reading.report

    assert report.source == "resident set, high-water mark of the process"
    assert report.device == "cpu"
    assert abs(report.added - 64 * MIB) < SLACK
    assert abs(report.live - report.live_before) < SLACK
    assert report.working is None


@needs_a_mark
def test_what_was_highest_before_the_block_does_not_count() -> None:
    before = fill(128)
    del before
    with measure("cpu") as reading:
        pass
    assert reading.report.added < SLACK


@needs_a_mark
def test_what_is_kept_is_live() -> None:
    with measure("cpu") as reading:
        kept = fill(64)
    assert abs(reading.report.live - reading.report.live_before - kept.nbytes) < SLACK


@needs_a_mark
def test_an_inner_block_does_not_hide_the_peak_from_the_outer_one() -> None:
    with measure("cpu") as outer:
        first = fill(96)
        del first
        with measure("cpu") as inner:
            second = fill(32)
            del second
    assert abs(inner.report.added - 32 * MIB) < SLACK
    assert abs(outer.report.added - 96 * MIB) < SLACK


def test_without_the_mark_the_resident_set_is_sampled(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(_resident, "_CLEAR_REFS", tmp_path / "absent" / "clear_refs")
    with measure("cpu") as reading:
        held = fill(64)
        time.sleep(1)  # a busy machine lets the thread sample late
        del held
    assert reading.report.source == "resident set, sampled every 2 ms"
    assert abs(reading.report.added - 64 * MIB) < SLACK


def test_a_kernel_without_the_mark_is_sampled(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    status = tmp_path / "status"
    status.write_text("Name:\tpython\nVmRSS:\t1 kB\n")
    monkeypatch.setattr(_resident, "_STATUS", status)
    monkeypatch.setattr(_resident, "_CLEAR_REFS", tmp_path / "clear_refs")
    with measure("cpu") as reading:
        pass
    assert reading.report.source == "resident set, sampled every 2 ms"


class PlayedAccelerator:
    """The counters of a caching allocator."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.live = self.highest = 1000
        for name, function in {
            "is_available": lambda: True,
            "current_accelerator": lambda: torch.device("xpu"),
            "current_device_index": lambda: 1,
            "memory_allocated": lambda device: self.live,
            "max_memory_allocated": lambda device: self.highest,
            "reset_peak_memory_stats": self.reset,
        }.items():
            monkeypatch.setattr(torch.accelerator, name, function, raising=False)

    def allocate(self, size: int) -> None:
        self.live += size
        self.highest = max(self.highest, self.live)

    def reset(self, device: torch.device) -> None:
        self.highest = self.live


def test_an_accelerator_is_asked_through_the_one_interface(monkeypatch: pytest.MonkeyPatch) -> None:
    accelerator = PlayedAccelerator(monkeypatch)
    accelerator.highest = 10**9
    with measure() as reading:
        accelerator.allocate(500)
        accelerator.allocate(-400)
    report = reading.report

    assert (report.source, report.device) == ("allocator of xpu:1", "xpu:1")
    assert (report.live_before, report.peak, report.live) == (1000, 1500, 1100)
    assert report.added == 500


def test_nested_blocks_on_an_accelerator_keep_their_peaks(monkeypatch: pytest.MonkeyPatch) -> None:
    accelerator = PlayedAccelerator(monkeypatch)
    with measure("xpu:0") as outer:
        accelerator.allocate(500)
        accelerator.allocate(-500)
        with measure("xpu:0") as inner:
            accelerator.allocate(100)
    assert (outer.report.peak, inner.report.peak) == (1500, 1100)
    assert inner.report.device == "xpu:0"


def test_the_report_is_there_after_a_block_that_raised() -> None:
    with pytest.raises(ZeroDivisionError), measure("cpu") as reading:
        _ = 1 / 0
    assert reading.report.peak > 0


def test_the_device_must_be_one_that_is_there() -> None:
    with (
        pytest.raises(
            ValueError,
            match=r"^device \(meta\) must be the CPU or of the accelerator's type \(.*\); "
            r"choose one of them$",
        ),
        measure("meta"),
    ):
        pass
