from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from mept import fit_routers
from prompted_worker import FAMILIES, WRAPPERS
from tiny import tiny_batch, tiny_model, tuned
from two_processes import results_of_two

WORKER = Path(__file__).with_name("prompted_worker.py")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What the two processes saved."""
    return results_of_two(WORKER, tmp_path_factory.mktemp("two"))


@pytest.mark.distributed
@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize("family", FAMILIES)
def test_two_processes_give_the_mean_of_the_gradients_of_their_halves(
    family: str, wrapper: str, results: list[dict[str, Any]]
) -> None:
    """Of every trainable tensor, also of experts that no input of a process was routed to."""
    model = tuned(tiny_model(family), num_experts=8, aux_loss_coef=0.1)
    for seed in (1, 2):
        for rank in range(2):
            (model(**tiny_batch(family, seed=10 * seed + rank)).loss / 2).backward()
    expected = {n: p.grad for n, p in model.named_parameters() if p.requires_grad}
    for result in results:
        found = result[f"{family} {wrapper}"]
        assert found.keys() == expected.keys()
        for name, gradient in expected.items():
            # The model's own norms round to float32, and sums are ordered differently.
            torch.testing.assert_close(found[name], gradient, rtol=1e-5, atol=1e-8)


@pytest.mark.distributed
@pytest.mark.parametrize("family", FAMILIES)
def test_two_processes_fit_the_same_routers_whatever_each_has_read(
    family: str, results: list[dict[str, Any]]
) -> None:
    model = tuned(tiny_model(family))
    fit_routers(model, [tiny_batch(family, seed=seed) for seed in range(4)])  # of the first
    for result in results:
        for name, expected in model.state_dict().items():
            assert torch.equal(result[f"{family} fitted"][name], expected)
