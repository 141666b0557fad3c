from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from three_steps import STEPS

pytestmark = [pytest.mark.distributed, pytest.mark.slow]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """What each of two processes wrote down."""
    folder = tmp_path_factory.mktemp("processes")
    worker = Path(__file__).with_name("three_worker.py")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, worker, folder],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


@pytest.mark.parametrize("name", STEPS)
def test_all_libraries_take_steps_under_ddp_in_one_pair_of_processes(
    name: str, results: list[Any]
) -> None:
    first, second = (result[name] for result in results)
    assert first["ddp"].keys() == first["mean"].keys() != set()
    for parameter, expected in first["mean"].items():
        scale = max(float(expected.norm()), 1e-6)
        for each in (first, second):
            assert float((each["ddp"][parameter] - expected).norm()) < 1e-10 * scale, parameter
        assert torch.equal(first["ddp"][parameter], second["ddp"][parameter])
    apart = (first["own"][name] - second["own"][name] for name in first["own"])
    assert max(float(difference.norm()) for difference in apart) > 1e-3
