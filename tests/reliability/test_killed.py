from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from reliability.commands import INTERVAL, STEPS, Command

pytestmark = [pytest.mark.reliability]

TIMES = 20
"""Kills of each training."""

BETWEEN = 0.2
"""Seconds that a step with its save may take."""

NOT_BEGUN = (
    "and has none; start anew in another --output",  # no checkpoint is whole
    "must be the folder of the run that is resumed",
    "must be the folder of a training",
    "of the run that is resumed; start anew",  # its record was not written
)
ENDED = (
    "this one is at its last step",
    "this one is finished",
    "this one has its result.json",
)


def test_a_killed_run_loses_one_interval_at_most_and_ends_with_the_same_weights(
    command: Command, whole: dict[str, bytes], tmp_path: Path
) -> None:
    expected = whole[command.module]
    instants = random.Random(0)
    resumed = 0
    for number in range(TIMES):
        output = tmp_path / f"run-{number}"
        run, saved = command.start(output), instants.randrange(STEPS)
        while run.process.is_alive() and command.newest(output) < saved:
            time.sleep(0.002)
        time.sleep(instants.uniform(0, BETWEEN))
        run.process.kill()
        run.process.join()
        reached = command.newest(output)
        code, told = command.start(output, "--resume").wait()
        if code == 2 and any(reason in told for reason in ENDED):
            assert reached >= STEPS - INTERVAL, told
        elif code == 2:
            assert any(reason in told for reason in NOT_BEGUN), told
            assert reached <= INTERVAL, told
        else:
            assert code == 0, told
            assert began_at(command, output, told) >= reached - INTERVAL, told
            assert command.result(output) == expected
            resumed += 1
    assert resumed > TIMES / 2


def began_at(command: Command, output: Path, told: str) -> int:
    """The step that a resumed run went on from."""
    lines = [line for line in told.splitlines() if line.startswith("resuming from ")]
    if not lines:
        pytest.fail(f"nothing says where it goes on: {told}")
    last = lines[0].rpartition("-")[2]
    return int(last) if last.isdigit() else 0
