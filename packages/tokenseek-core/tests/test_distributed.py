from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from distributed_worker import GRADIENTS, WRAPPERS, half, model_of
from slow_reference import gradients, relative_error
from taken import always
from tokenseek_core import apply_tokenseek
from two_processes import results_of_two

WORKER = Path(__file__).with_name("distributed_worker.py")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What the two processes saved."""
    return results_of_two(WORKER, tmp_path_factory.mktemp("two"))


@pytest.mark.distributed
@pytest.mark.parametrize("gradient", GRADIENTS)
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_two_processes_give_the_mean_of_the_gradients_of_their_halves(
    wrapper: str, gradient: str, results: list[dict[str, Any]]
) -> None:
    model = model_of(wrapper)
    with apply_tokenseek(model, always(ratio=0.3, gradient=gradient)):
        for seed in (1, 2):
            for rank in range(2):
                (model(**half(wrapper, seed, rank)).loss / 2).backward()
    expected = gradients(model)
    found = [result[f"{wrapper} {gradient}"] for result in results]
    for each in found:
        # The model's own norms round to float32, and sums are ordered differently.
        assert relative_error(each["gradients"], expected) < 1e-6
        assert len(each["keeps"]) == 2
    assert not torch.equal(found[0]["keeps"][0], found[1]["keeps"][0])


@pytest.mark.distributed
def test_a_relative_bias_is_refused_in_shards(results: list[dict[str, Any]]) -> None:
    for result in results:
        assert result["refusal"] == (
            "model (T5ForConditionalGeneration) must not be sharded by FSDP2, its relative bias is "
            "asked for between its blocks; train it under DistributedDataParallel"
        )


@pytest.mark.distributed
def test_what_the_first_process_gives_or_is_refused_is_that_of_all(
    results: list[dict[str, Any]],
) -> None:
    first, second = results
    for result in results:
        assert result["added"] == [1, 2]
        assert result["folder"] == "made by 0"
        assert result["InputError"] == "InputError: value (3) must be 2; take 2"
    assert first["OSError"] == "OSError: disk full"
    assert second["OSError"] == "RunError: the first process failed (OSError('disk full'))"
