from __future__ import annotations

from pathlib import Path

import pytest
import torch

from memory_worker import UPDATES, batch_of, memory_of, train


@pytest.mark.distributed
@pytest.mark.slow
def test_two_processes_move_and_reseed_the_memory_as_one_does(worked: Path) -> None:
    memory = memory_of()
    for update in range(UPDATES):
        memory.update(*batch_of(update))
    assert memory.usage[1] > 0.1  # it was placed anew
    train(0, 1, worked)
    for name in ("1-0", "2-0", "2-1"):
        for key, value in torch.load(worked / f"{name}.pt").items():
            torch.testing.assert_close(value, memory.state_dict()[key], rtol=1e-12, atol=1e-12)
