from __future__ import annotations

from pathlib import Path

import pytest
import torch

from promotion import ProMotion, ProMotionConfig


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small model of random weights."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("weights")
    ProMotion(ProMotionConfig.size("nano")).save_pretrained(folder)
    return folder
