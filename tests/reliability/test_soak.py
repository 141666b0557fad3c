from __future__ import annotations

import statistics
import time
from pathlib import Path

import psutil
import pytest

from reliability.commands import Command

pytestmark = [pytest.mark.reliability]

STEPS = 2000
FEW = 16 << 20
"""Bytes that a run may grow by, which are of no account."""


def test_two_thousand_steps_hold_what_the_first_ones_held(command: Command, tmp_path: Path) -> None:
    run = command.start(tmp_path / "run", steps=STEPS, interval=200)
    process = psutil.Process(run.process.pid)
    held: list[tuple[int, int, int]] = []
    while run.process.is_alive():
        try:
            with process.oneshot():
                found = (process.memory_info().rss, process.num_fds(), process.num_threads())
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            break
        held.append(found)
        time.sleep(0.1)
    code, told = run.wait()
    assert code == 0, told
    assert len(held) > 50
    early, late = held[len(held) // 5 : len(held) * 2 // 5], held[len(held) * 4 // 5 :]
    growth = [
        statistics.median(each[i] for each in late) - statistics.median(each[i] for each in early)
        for i in range(3)
    ]
    assert growth[0] < FEW, f"{growth[0] / 2**20:.1f} MiB of memory"
    assert growth[1] <= 2, f"{growth[1]} open files"
    assert growth[2] <= 0, f"{growth[2]} threads"
