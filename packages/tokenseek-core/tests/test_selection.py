from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tokenseek_core import TokenSeekConfig
from tokenseek_core._counts import Counts
from tokenseek_core._selection import Selection, Stratum, kept_share, select, supervised_first


def all_of(scores: Tensor, ratio: float = 0.5) -> Stratum:
    among = torch.ones_like(scores, dtype=torch.bool)
    return Stratum(among, among.sum(1).tolist(), ratio)


def pick(scores: Tensor, ratio: float = 0.5) -> list[list[int]]:
    indices: list[list[int]] = select(scores, [all_of(scores, ratio)]).indices.tolist()
    return indices


def test_the_highest_scores_are_kept_in_the_order_of_the_sequence() -> None:
    assert pick(torch.tensor([[1.0, 5.0, 2.0, 4.0], [9.0, 0.0, 1.0, 3.0]])) == [[1, 3], [0, 3]]


def test_a_ratio_that_divides_the_length_is_not_rounded_up_by_floating_point() -> None:
    assert len(pick(torch.rand(1, 10), ratio=0.7)[0]) == 7  # 0.7 * 10 is 7.000000000000001


def test_a_missing_supervised_token_takes_the_place_of_the_weakest() -> None:
    scores = torch.tensor([[4.0, 3.0, 2.0, 1.0]])
    supervised = torch.tensor([[False, False, True, True]])
    assert pick(supervised_first(scores, supervised, 1)) == [[0, 2]]


def test_without_supervised_tokens_nothing_is_forced() -> None:
    scores = torch.tensor([[4.0, 3.0, 2.0, 1.0]])
    none = torch.zeros(1, 4, dtype=torch.bool)
    assert pick(supervised_first(scores, none, 2)) == [[0, 1]]


def check(chosen: Selection, parts: list[Stratum]) -> None:
    """Distinct slots in their order, of which the active ones fill each part's budget."""
    for row, slots in enumerate(chosen.indices.tolist()):
        assert slots == sorted(set(slots))
        active = chosen.indices[row, chosen.active[row]]
        kept = [int(part.among[row, active].sum()) for part in parts]
        expected = [
            min(part.sizes[row], max(part.least, math.ceil(part.ratio * part.sizes[row] - 1e-9)))
            for part in parts
        ]
        assert kept == expected
        assert sum(kept) == len(active)
    assert chosen.ragged == (not bool(chosen.active.all()))


@given(
    lengths=st.lists(st.integers(1, 30), min_size=1, max_size=5),
    ratios=st.tuples(st.floats(0.01, 1.0), st.floats(0.01, 1.0)),
    answered=st.sampled_from([0.0, 0.3, 1.0]),
    sampled=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_each_part_keeps_its_own_share_by_its_own_scores(
    lengths: list[int],
    ratios: tuple[float, float],
    answered: float,
    sampled: bool,
    seed: int,
) -> None:
    generator = torch.Generator().manual_seed(seed)
    shape = (len(lengths), max(lengths))
    valid = torch.arange(shape[1]) < torch.tensor(lengths)[:, None]
    answers = (torch.rand(shape, generator=generator) < answered) & valid
    scores = torch.randn(shape, generator=generator)
    parts = [
        Stratum(among, among.sum(1).tolist(), ratio)
        for among, ratio in zip((answers, valid & ~answers), ratios, strict=True)
    ]
    chosen = select(scores, parts, scores if sampled else None)
    check(chosen, parts)
    config = TokenSeekConfig(ratio=ratios[1], answer_ratio=ratios[0])
    carrying = tuple(answers.sum(1).tolist())
    counts = Counts(tuple(lengths), carrying, carrying)
    assert chosen.active.sum() / sum(lengths) == pytest.approx(kept_share(counts, config))
    assert bool((chosen.importance[chosen.active] >= 1).all())
    for part in parts:
        for row in range(len(lengths)):
            active = chosen.indices[row, chosen.active[row]]
            kept = scores[row, active[part.among[row, active]]]
            left = part.among[row].clone()
            left[active] = False
            assert not len(kept) or not left.any() or kept.min() >= scores[row, left].max()


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

    parts = [Stratum(valid, lengths, ratio)]
    chosen = select(supervised_first(scores, supervised, least), parts)

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
