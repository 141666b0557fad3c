from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tokenseek_common.training import trainer_arguments


def test_the_trainer_is_silent_and_keeps_to_one_device(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="this package does not depend on it")
    arguments = trainer_arguments(tmp_path, device=torch.device("cpu"), max_steps=3, save_steps=2)
    assert (arguments.max_steps, arguments.save_steps) == (3, 2)
    assert arguments.disable_tqdm
    assert arguments.report_to == []
    assert arguments.n_gpu <= 1
    assert arguments.device == torch.device("cpu")
