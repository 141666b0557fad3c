from __future__ import annotations

from typing import Any, cast

import pytest
import torch

from tokenseek_common import InputError
from tokenseek_common.data import (
    IGNORE_INDEX,
    Example,
    PackingCollator,
    PaddingCollator,
    ResumableLoader,
    make_loader,
)

PAD = 9
CHOICES: list[dict[str, Any]] = [
    {"batch_size": 4},
    {"batch_size": 4, "by_length": True},
    {"max_tokens": 24},
]


def numbered(count: int) -> list[Example]:
    return [Example([i] * (i + 2), [i] * (i + 2)) for i in range(count)]


def loader(seed: int = 3, **options: Any) -> ResumableLoader:
    options = options or {"batch_size": 4}
    return make_loader(numbered(9), collator=PaddingCollator(PAD), seed=seed, **options)


def first_tokens(batches: Any) -> list[list[int]]:
    return [cast("list[int]", batch["input_ids"][:, 0].tolist()) for batch in batches]


def test_the_seed_alone_decides_the_order() -> None:
    once = loader()
    epochs = [first_tokens(once) for _ in range(2)]
    torch.manual_seed(11)
    again = loader()
    assert [first_tokens(again) for _ in range(2)] == epochs
    assert first_tokens(loader(seed=4)) != epochs[0]
    assert epochs[0] != epochs[1], "each epoch has an order of its own"


def test_a_loader_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    first_tokens(loader())
    first_tokens(loader(batch_size=4, shuffle=False))
    assert torch.equal(before, torch.get_rng_state())


def test_without_shuffling_the_given_order_is_kept() -> None:
    unshuffled = loader(batch_size=4, shuffle=False)
    assert first_tokens(unshuffled) == [[0, 1, 2, 3], [4, 5, 6, 7], [8]]
    assert len(unshuffled) == 3


def test_a_packed_loader_fills_rows_up_to_a_budget() -> None:
    packed = make_loader(numbered(9), collator=PackingCollator(), max_tokens=24, packed=True)
    batches = list(packed)
    assert all(batch["input_ids"].shape[0] == 1 for batch in batches)
    assert all(batch["input_ids"].shape[1] <= 24 for batch in batches)
    assert sum(batch["input_ids"].shape[1] for batch in batches) == sum(range(2, 11))


@pytest.mark.parametrize("options", CHOICES)
@pytest.mark.parametrize("taken", [0, 1, 2])
def test_a_loader_goes_on_where_another_stopped_and_into_the_same_epochs(
    options: dict[str, Any], taken: int
) -> None:
    whole = loader(**options)
    epochs = [first_tokens(whole) for _ in range(3)]

    stopped = loader(**options)
    first_tokens(stopped)
    batches = iter(stopped)
    for _ in range(taken):
        next(batches)
    state = stopped.state_dict()

    resumed = loader(**options)
    resumed.load_state_dict(state)
    assert resumed.state_dict() == state
    assert first_tokens(resumed) == epochs[1][taken:]
    assert first_tokens(resumed) == epochs[2]


def test_behind_the_last_batch_the_state_is_the_next_epochs_beginning() -> None:
    stopped = loader()
    epochs = [first_tokens(stopped)]
    resumed = loader()
    resumed.load_state_dict(stopped.state_dict())
    epochs.append(first_tokens(resumed))
    whole = loader()
    assert [first_tokens(whole) for _ in range(2)] == epochs


def test_a_pass_that_is_given_up_is_over() -> None:
    whole, left = loader(), loader()
    next(iter(left))
    epochs = [first_tokens(whole) for _ in range(2)]
    assert first_tokens(left) == epochs[1]


def test_what_workers_prepare_ahead_does_not_count() -> None:
    whole = loader(batch_size=2)
    epochs = [first_tokens(whole) for _ in range(2)]
    stopped = loader(batch_size=2, num_workers=1)
    batches = iter(stopped)
    assert first_tokens([next(batches)]) == epochs[0][:1]
    resumed = loader(batch_size=2)
    resumed.load_state_dict(stopped.state_dict())
    assert first_tokens(resumed) == epochs[0][1:]


@pytest.mark.parametrize(
    ("state", "told"),
    [
        (
            {"examples": 8, "seed": 3},
            "examples (9) must be 8, as in the state that is loaded; give the same data and "
            "options",
        ),
        (
            {"examples": 9, "seed": 4},
            "seed (3) must be 4, as in the state that is loaded; give the same data and options",
        ),
    ],
)
def test_a_state_of_other_examples_is_refused(state: dict[str, object], told: str) -> None:
    with pytest.raises(InputError) as error:
        loader().load_state_dict({"epoch": 0, "done": 1, **state})
    assert str(error.value) == told


@pytest.mark.parametrize(
    ("examples", "batch_size", "told"),
    [
        ([], 2, "examples (0) must be at least one; give more records"),
        (numbered(1), 0, "batch_size (0) must be at least 1; choose a larger one"),
        (
            [*numbered(2), Example([1, 2], [1, IGNORE_INDEX])],
            2,
            "examples[2] (2 tokens) must have a label behind its first token, or there is nothing "
            "to learn; leave it out",
        ),
    ],
)
def test_what_cannot_be_loaded_is_told(examples: list[Example], batch_size: int, told: str) -> None:
    with pytest.raises(InputError) as error:
        make_loader(examples, batch_size=batch_size, collator=PaddingCollator(PAD))
    assert str(error.value) == told
