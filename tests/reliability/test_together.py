from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest

from reliability.commands import Command, Run

pytestmark = [pytest.mark.reliability]

LONG = 5000
"""Steps of a run that will not end by itself."""


def until_saved(command: Command, output: Path, run: Run) -> None:
    """Wait until a run has saved two checkpoints: the first of them is whole."""
    while command.newest(output) < 2:
        assert run.process.is_alive(), run.err.read_text()
        time.sleep(0.05)


def test_a_second_run_in_the_same_folder_is_refused(command: Command, tmp_path: Path) -> None:
    output = tmp_path / "run"
    first = command.start(output, steps=LONG)
    try:
        until_saved(command, output, first)
        code, told = command.start(output, steps=LONG).wait()
        assert code == 2
        assert f"output ({output}) must be an empty or new folder" in told
        code, told = command.start(output, "--resume", steps=LONG).wait()
        assert code == 2
        assert f"output ({output}) must not be in use, and another run trains there" in told
        assert first.process.is_alive()
    finally:
        first.process.kill()
        first.process.join()


@pytest.mark.parametrize("dies", [0, 1])
def test_where_one_of_two_processes_dies_the_other_ends_soon_and_says_so(
    command: Command, tmp_path: Path, dies: int
) -> None:
    if not command.processes:
        pytest.skip("it trains in one process")
    output = tmp_path / "run"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    both = []
    for rank in range(2):
        (tmp_path / f"{rank}").mkdir()
        own = shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
        both.append(command.start(output, steps=LONG, environment=own))
    try:
        until_saved(command, output, both[0])
        both[dies].process.kill()
        code, told = both[1 - dies].wait(timeout=120)
    finally:
        for run in both:
            run.process.kill()
            run.process.join()
    assert code == 1, told
    assert "another process of the training has ended; see what it said" in told
