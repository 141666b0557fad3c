from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.multiprocessing.spawn import spawn

from memory_worker import UPDATES, batch_of, memory_of, train


@pytest.mark.distributed
@pytest.mark.slow
def test_two_processes_move_and_reseed_the_memory_as_one_does(tmp_path: Path) -> None:
    memory = memory_of()
    for update in range(UPDATES):
        memory.update(*batch_of(update))
    assert memory.usage[1] > 0.1  # it was placed anew
    train(0, 1, tmp_path)
    spawn(train, (2, tmp_path), nprocs=2)
    for name in ("1-0", "2-0", "2-1"):
        for key, value in torch.load(tmp_path / f"{name}.pt").items():
            torch.testing.assert_close(value, memory.state_dict()[key], rtol=1e-12, atol=1e-12)
