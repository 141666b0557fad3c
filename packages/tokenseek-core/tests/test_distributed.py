from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from families import tiny_batch, tiny_model, with_lora
from slow_reference import gradients, relative_error
from taken import always
from tokenseek_core import apply_tokenseek

WORKER = Path(__file__).with_name("distributed_worker.py")


@pytest.mark.distributed
@pytest.mark.parametrize("gradient", ["restart", "inject"])
@pytest.mark.parametrize("wrapper", ["ddp", "fsdp2", "fsdp2-lora"])
def test_two_processes_give_the_mean_of_the_gradients_of_their_halves(
    wrapper: str, gradient: str, tmp_path: Path
) -> None:
    # The processes find what the tests find.
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, WORKER, wrapper, gradient, str(rank), tmp_path / "store", tmp_path],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    errors = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], "\n".join(errors)

    model: nn.Module = tiny_model("llama-tied")
    if wrapper == "fsdp2-lora":
        model = with_lora(model)
    results = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    with apply_tokenseek(model, always(ratio=0.3, gradient=gradient)):
        for seed in (1, 2):
            for rank in range(2):
                (model(**tiny_batch("none", seed=10 * seed + rank)).loss / 2).backward()
    expected = gradients(model)
    for result in results:
        # The model's own norms round to float32, and sums are ordered differently.
        assert relative_error(result["gradients"], expected) < 1e-6
        assert len(result["keeps"]) == 2
    assert not torch.equal(results[0]["keeps"][0], results[1]["keeps"][0])
