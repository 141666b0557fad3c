from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from data.superglue_rows import sample_of
from tokenseek_common import InputError
from tokenseek_common.data import TaskSample, mix_samples, mixture_rates


def told(call: Callable[..., object], *arguments: Any, **options: Any) -> str:
    with pytest.raises(InputError) as error:
        call(*arguments, **options)
    return str(error.value)


def tasks(**sizes: int) -> list[TaskSample]:
    return [
        sample_of(task, "entailment" if task in ("cb", "rte") else "True", question=str(number))
        for task, size in sizes.items()
        for number in range(size)
    ]


def drawn_tasks(mixture: list[TaskSample]) -> Counter[str]:
    return Counter(sample.task.name for sample in mixture)


def test_rates_are_in_proportion_up_to_the_cap() -> None:
    sizes = {"boolq": 9000, "cb": 250}
    assert mixture_rates(sizes) == pytest.approx({"boolq": 9000 / 9250, "cb": 250 / 9250})
    assert mixture_rates(sizes, cap=750) == {"boolq": 0.75, "cb": 0.25}


def test_a_temperature_draws_rates_together() -> None:
    sizes = {"boolq": 900, "cb": 100}
    # Square roots: 30 and 10.
    assert mixture_rates(sizes, temperature=2) == pytest.approx({"boolq": 0.75, "cb": 0.25})
    # With the cap: 20 and 10.
    capped = mixture_rates(sizes, temperature=2, cap=400)
    assert capped == pytest.approx({"boolq": 2 / 3, "cb": 1 / 3})
    assert mixture_rates(sizes, temperature=1e9)["cb"] == pytest.approx(0.5)


def test_without_a_size_every_task_comes_up_to_the_cap() -> None:
    mixture = mix_samples(tasks(boolq=30, cb=4, wic=9), cap=9)
    assert drawn_tasks(mixture) == {"boolq": 9, "cb": 4, "wic": 9}
    assert (
        Counter((sample.task.name, sample.question) for sample in mixture).most_common(1)[0][1] == 1
    )  # nothing comes up twice


@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(1, 90),
    st.floats(1, 20),
    st.integers(0, 3),
)
def test_a_mixture_has_its_size_and_its_rates_to_the_sample(
    boolq: int, cb: int, size: int, temperature: float, seed: int
) -> None:
    samples = tasks(boolq=boolq, cb=cb)
    mixture = mix_samples(samples, size=size, temperature=temperature, cap=20, seed=seed)
    counts = drawn_tasks(mixture)
    assert counts.total() == size
    rates = mixture_rates({"boolq": boolq, "cb": cb}, cap=20, temperature=temperature)
    for task, rate in rates.items():
        assert abs(counts[task] - rate * size) < 1
        often = Counter(sample.question for sample in mixture if sample.task.name == task)
        absent = sum(sample.task.name == task for sample in samples) - len(often)
        # A small task is used up before any of its samples comes up again.
        assert max(often.values(), default=0) - min([*often.values(), *[0] * absent]) <= 1


def test_the_seed_alone_decides_the_mixture() -> None:
    samples = tasks(boolq=20, cb=20)
    first = mix_samples(samples, size=30, seed=1)
    torch.manual_seed(7)
    before = torch.get_rng_state()
    assert mix_samples(samples, size=30, seed=1) == first
    assert mix_samples(samples, size=30, seed=2) != first
    assert torch.equal(before, torch.get_rng_state())


def test_tasks_come_mixed() -> None:
    names = [sample.task.name for sample in mix_samples(tasks(boolq=50, cb=50))]
    assert set(names[:20]) == {"boolq", "cb"}


def test_options_without_a_meaning_are_refused() -> None:
    sizes = {"boolq": 3, "cb": 0}
    assert told(mixture_rates, {"cb": 3}, cap=0) == (
        "cap (0) must be at least 1; leave it out for no limit"
    )
    for temperature in (0.5, float("inf"), float("nan")):
        assert told(mixture_rates, {"cb": 3}, temperature=temperature) == (
            f"temperature ({temperature}) must be at least 1 and finite; 1 draws in proportion"
        )
    assert told(mixture_rates, sizes) == (
        "sizes (boolq 3, cb 0) must be at least 1 each, of at least one task; leave empty tasks out"
    )
    assert told(mix_samples, []) == (
        "sizes (no task) must be at least 1 each, of at least one task; leave empty tasks out"
    )
    assert told(mix_samples, tasks(cb=2), size=0) == (
        "size (0) must be at least 1; leave it out to draw all"
    )
