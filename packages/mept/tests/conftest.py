from __future__ import annotations

import pytest
import torch

from float64 import spare_float64

torch.set_num_threads(1)  # tiny tensors; more threads only wait for each other


@pytest.fixture
def float64(monkeypatch: pytest.MonkeyPatch) -> None:
    spare_float64(monkeypatch)
