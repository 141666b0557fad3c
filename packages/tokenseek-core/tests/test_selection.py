from __future__ import annotations

import math

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tokenseek_core._selection import select


def pick(scores: Tensor, ratio: float = 0.5) -> list[list[int]]:
    valid = torch.ones_like(scores, dtype=torch.bool)
    chosen = select(scores, valid, valid, valid.sum(1).tolist(), ratio=ratio, min_supervised=0)
    return chosen.indices.tolist()


def test_the_highest_scores_are_kept_in_the_order_of_the_sequence() -> None:
    assert pick(torch.tensor([[1.0, 5.0, 2.0, 4.0], [9.0, 0.0, 1.0, 3.0]])) == [[1, 3], [0, 3]]


def test_a_ratio_that_divides_the_length_is_not_rounded_up_by_floating_point() -> None:
    assert len(pick(torch.rand(1, 10), ratio=0.7)[0]) == 7  # 0.7 * 10 is 7.000000000000001


def test_a_missing_supervised_token_takes_the_place_of_the_weakest() -> None:
    scores = torch.tensor([[4.0, 3.0, 2.0, 1.0]])
    supervised = torch.tensor([[False, False, True, True]])
    chosen = select(
        scores, torch.ones_like(supervised), supervised, [4], ratio=0.5, min_supervised=1
    )
    assert chosen.indices.tolist() == [[0, 2]]


def test_without_supervised_tokens_nothing_is_forced() -> None:
    scores = torch.tensor([[4.0, 3.0, 2.0, 1.0]])
    none = torch.zeros(1, 4, dtype=torch.bool)
    chosen = select(scores, torch.ones_like(none), none, [4], ratio=0.5, min_supervised=2)
    assert chosen.indices.tolist() == [[0, 1]]


@given(
    lengths=st.lists(st.integers(1, 30), min_size=1, max_size=5),
    ratio=st.floats(0.01, 1.0),
    least=st.integers(0, 3),
    seed=st.integers(0, 2**31),
)
def test_every_instance_keeps_its_share_of_distinct_real_tokens(
    lengths: list[int], ratio: float, least: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    shape = (len(lengths), max(lengths))
    valid = torch.arange(shape[1]) < torch.tensor(lengths)[:, None]
    supervised = (torch.rand(shape, generator=generator) < 0.3) & valid
    scores = torch.randn(shape, generator=generator)

    chosen = select(scores, valid, supervised, lengths, ratio=ratio, min_supervised=least)

    for row, length in enumerate(lengths):
        slots, active = chosen.indices[row], chosen.active[row]
        budget = max(1, math.ceil(ratio * length - 1e-9))
        assert int(active.sum()) == budget
        assert len(set(slots.tolist())) == len(slots)
        assert bool(valid[row, slots[active]].all())
        assert slots.tolist() == sorted(slots.tolist())
        kept = int(supervised[row, slots[active]].sum())
        assert kept >= min(least, budget, int(supervised[row].sum()))
    assert chosen.ragged == (not bool(chosen.active.all()))
    assert torch.equal(chosen.rows(scores), scores.gather(1, chosen.indices))
