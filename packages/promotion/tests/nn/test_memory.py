from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from promotion.nn import PrototypeMemory


def memory_of(prototypes: int = 4, *, momentum: float = 0.9, patience: int = 3) -> PrototypeMemory:
    torch.manual_seed(0)
    return PrototypeMemory(prototypes, 3, momentum=momentum, patience=patience).double()


def tokens_of(n: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return F.normalize(torch.randn(n, 3, dtype=torch.float64, generator=generator), dim=-1)


def test_used_prototypes_move_towards_their_tokens_and_the_others_stay() -> None:
    memory, tokens = memory_of(), tokens_of(5)
    before = memory.prototypes.clone()
    memory.update(tokens, torch.tensor([0, 0, 2, 2, 2]))
    for k, mean in ((0, tokens[:2].mean(0)), (2, tokens[2:].mean(0))):
        expected = F.normalize(0.9 * before[k] + 0.1 * F.normalize(mean, dim=-1), dim=-1)
        torch.testing.assert_close(memory.prototypes[k], expected, rtol=1e-12, atol=0)
    assert torch.equal(memory.prototypes[[1, 3]], before[[1, 3]])


def test_a_frozen_memory_stays() -> None:
    memory = memory_of()
    before = {name: value.clone() for name, value in memory.state_dict().items()}
    memory.frozen = True
    memory.update(tokens_of(5), torch.zeros(5, dtype=torch.int64))
    assert all(torch.equal(value, before[name]) for name, value in memory.state_dict().items())


def test_a_graph_outlives_an_update() -> None:
    memory, tokens = memory_of(), tokens_of(6).requires_grad_()
    loss = (tokens @ memory().T).square().sum()
    memory.update(tokens.detach(), torch.arange(6) % 4)
    loss.backward()
    assert tokens.grad is not None


def test_a_dead_prototype_is_placed_at_the_worst_served_token() -> None:
    memory = memory_of(patience=3)
    tokens = tokens_of(40)
    memory.usage[1] = 1e-6  # dead, while the others are used alike
    others = torch.tensor([0, 2, 3]).repeat(14)[:40]
    for _ in range(2):
        memory.update(tokens, others)
    assert memory.rare_for.tolist() == [0, 2, 0, 0]
    memory.update(tokens, others)
    fit = (tokens @ memory.prototypes[[0, 2, 3]].T).amax(1)
    placed = tokens @ memory.prototypes[1]
    worst = placed.argmax()
    assert placed[worst] == pytest.approx(1)
    assert fit[worst] <= fit.quantile(0.5)
    assert memory.rare_for.tolist() == [0, 0, 0, 0]
    assert memory.usage[1] == 1 / 4


def test_usage_entropy_is_one_for_even_use_and_falls_as_prototypes_die() -> None:
    memory = memory_of()
    assert memory.usage_entropy() == pytest.approx(1)
    memory.usage.copy_(torch.tensor([0.5, 0.5, 0, 0]))
    assert memory.usage_entropy() == pytest.approx(math.log(2) / math.log(4))
