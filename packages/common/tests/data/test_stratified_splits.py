from __future__ import annotations

from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from data.superglue_rows import sample_of
from tokenseek_common import InputError
from tokenseek_common.data import TaskSample, stratified_split

CB = ("entailment", "contradiction", "neutral")


def labelled(*counts: int) -> list[TaskSample]:
    return [
        sample_of("cb", label, question=f"{label} {number}")
        for label, count in zip(CB, counts, strict=True)
        for number in range(count)
    ]


def drawn_labels(samples: list[TaskSample]) -> tuple[int, ...]:
    counted = Counter(sample.label for sample in samples)
    return tuple(counted[label] for label in range(3))


@given(
    st.lists(st.integers(0, 12), min_size=3, max_size=3).filter(lambda counts: sum(counts) > 1),
    st.integers(0, 5),
    st.data(),
)
def test_a_split_is_exact_and_each_label_has_its_share(
    counts: list[int], seed: int, drawn: st.DataObject
) -> None:
    samples = labelled(*counts)
    held = drawn.draw(st.integers(1, len(samples) - 1))
    train, evaluation = stratified_split(samples, eval_size=held, seed=seed)
    assert len(evaluation) == held
    places = [samples.index(sample) for sample in train], [samples.index(s) for s in evaluation]
    assert sorted(places[0] + places[1]) == list(range(len(samples)))
    assert places == (sorted(places[0]), sorted(places[1]))
    for count, taken in zip(counts, drawn_labels(evaluation), strict=True):
        assert abs(taken - held * count / len(samples)) < 1


def test_remainders_go_to_the_largest() -> None:
    # Quotas of 10 %: 11.5, 11.9 and 1.6.
    assert drawn_labels(stratified_split(labelled(115, 119, 16), eval_size=25)[1]) == (11, 12, 2)
    assert drawn_labels(stratified_split(labelled(115, 119, 16), eval_size=0.1)[1]) == (11, 12, 2)


def test_the_seed_alone_decides_the_split() -> None:
    samples = labelled(20, 20, 20)
    first = stratified_split(samples, eval_size=12, seed=1)
    torch.manual_seed(7)
    before = torch.get_rng_state()
    assert stratified_split(samples, eval_size=12, seed=1) == first
    assert stratified_split(samples, eval_size=12, seed=2) != first
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("task", ["multirc", "record"])
def test_no_group_is_parted(task: str) -> None:
    samples = [
        sample_of(task, "True", group=f"paragraph {number % 10}", question=str(number))
        for number in range(43)
    ]
    for seed in range(5):
        train, evaluation = stratified_split(samples, eval_size=3, seed=seed)
        groups = {sample.group for sample in evaluation}
        assert len(groups) == 3
        assert not groups & {sample.group for sample in train}
        assert len(train) + len(evaluation) == 43


def test_every_task_of_a_mixture_has_its_share() -> None:
    samples = [
        *[sample_of("boolq", "True")] * 30,
        *[sample_of("wic", "True")] * 60,
        *[sample_of("multirc", "True", group=f"{number // 2}") for number in range(20)],
    ]
    _, evaluation = stratified_split(samples, eval_size=10)
    assert Counter(sample.task.name for sample in evaluation) == {
        "boolq": 3,
        "wic": 6,
        "multirc": 2,  # one paragraph with two answers
    }


def test_groups_are_what_is_counted() -> None:
    samples = [sample_of("multirc", "True", group="only") for _ in range(5)]
    with pytest.raises(InputError) as error:
        stratified_split(samples, eval_size=1)
    assert str(error.value) == (
        "eval_size (1) must leave items for both parts of 1; "
        "choose another share or give more records"
    )
