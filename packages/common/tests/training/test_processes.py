from __future__ import annotations

import pytest
import torch

from tokenseek_common import InputError
from tokenseek_common.training import Processes


def test_one_process_is_the_first_and_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    alone = Processes.joined(torch.device("meta"))
    assert (alone.count, alone.rank, alone.device.type, alone.is_first) == (1, 0, "meta", True)
    assert alone.on_first(lambda: 3) == 3
    assert alone.summed([1.0, 2.0]) == [1.0, 2.0]
    assert (alone.any(flag=True), alone.any(flag=False)) == (True, False)
    alone.leave()


def test_what_the_first_is_refused_is_refused() -> None:
    def refuse() -> None:
        raise InputError("value (3) must be 2; take 2")

    with pytest.raises(InputError, match=r"value \(3\)"):
        Processes(1, 0, torch.device("cpu")).on_first(refuse)


def test_weights_in_shards_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("ACCELERATE_USE_MEGATRON_LM", "true")
    with pytest.raises(InputError, match=r"ACCELERATE_USE_MEGATRON_LM \(true\) must be unset"):
        Processes.joined(torch.device("cpu"))
