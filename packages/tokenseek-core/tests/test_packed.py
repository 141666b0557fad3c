from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from exact import BOUND, assert_exact, exact_model
from families import PACKED, packed_batch, tiny_batch, tiny_model
from slow_reference import gradients, relative_error
from taken import always, take_step
from tokenseek_common import InputError
from tokenseek_core import Signals, TokenSeekConfig, apply_tokenseek
from tokenseek_core._batch import Batch
from tokenseek_core._counts import Counts
from tokenseek_core._sequences import Sequences


def sequences() -> list[dict[str, Tensor]]:
    """The same, each in a row of its own."""
    parts = {name: value.split(PACKED, dim=1) for name, value in packed_batch().items()}
    return [{name: split[i] for name, split in parts.items()} for i in range(len(PACKED))]


@pytest.mark.parametrize("gradient", ["restart", "inject"])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("family", ["llama", "mistral", "gpt2"])
def test_packed_sequences_equal_the_slow_reference(
    monkeypatch: pytest.MonkeyPatch, family: str, attention: str, gradient: Any
) -> None:
    model = exact_model(monkeypatch, family)
    model.set_attn_implementation(attention)
    assert_exact(model, packed_batch(), always(0.4, gradient=gradient))


def test_packed_sequences_with_every_token_kept_equal_the_untouched_model_on_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = exact_model(monkeypatch)
    items = sum(PACKED) - len(PACKED)
    for sequence in sequences():
        model(**sequence, num_items_in_batch=items).loss.backward()
    expected = gradients(model)
    taken = take_step(model, packed_batch(), always(1.0))
    assert relative_error(taken.gradients, expected) < BOUND


def test_the_context_score_does_not_look_across_packed_sequences() -> None:
    model = tiny_model("llama")
    seen: list[Tensor] = []

    def watch(signals: Signals) -> Tensor:
        seen.append(signals.context)
        return signals.context

    with apply_tokenseek(model, always(selector=watch)):
        for batch in (packed_batch(), *sequences()):
            model(**batch)
    together, *alone = seen
    torch.testing.assert_close(together, torch.cat(alone, dim=1))


def apart() -> dict[str, Tensor]:
    """The same as a padded batch."""
    fills = {"input_ids": 0, "labels": -100, "attention_mask": 0}
    rows = [row | {"attention_mask": torch.ones_like(row["labels"])} for row in sequences()]
    lengths = zip(rows, PACKED, strict=True)
    padding = [(row, (0, max(PACKED) - length)) for row, length in lengths]
    return {
        name: torch.cat([F.pad(row[name], pad, value=fill) for row, pad in padding])
        for name, fill in fills.items()
    }


def test_each_sequence_has_a_budget_of_its_own() -> None:
    taken = take_step(tiny_model("llama"), packed_batch(), always(0.3))
    kept = [int(part.sum()) for part in taken.keep.split(PACKED, dim=1)]
    assert kept == [math.ceil(0.3 * length) for length in PACKED]


CONFIGS = {
    **{name: always(0.3, selector=name) for name in ("tokenseek", "quota", "sampled", "random")},
    "supervised": always(0.3, min_supervised=2),
    "inject": always(0.3, selector="sampled", gradient="inject"),
    "answers": replace(TokenSeekConfig.answers(0.2), dense_above=None),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_packed_sequences_are_the_instances_that_a_padded_batch_has(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    model = exact_model(monkeypatch)
    packed, padded = packed_batch(), apart()
    for labels in (packed["labels"], padded["labels"]):  # answers behind prompts
        labels.masked_fill_(labels % 3 == 0, -100)
    torch.manual_seed(1)
    expected = take_step(model, padded, CONFIGS[name])
    torch.manual_seed(1)
    taken = take_step(model, packed, CONFIGS[name])
    real = padded["attention_mask"].bool()
    assert torch.equal(taken.keep[0], expected.keep[real])
    torch.testing.assert_close(taken.importance[0], expected.importance[real])
    assert taken.loss == pytest.approx(expected.loss, rel=BOUND)
    assert relative_error(taken.gradients, expected.gradients) < BOUND


def test_the_share_that_makes_a_step_dense_is_that_of_the_sequences() -> None:
    # 4 + 3 + 3 of 30 are above a third; of one row, 9 were below it.
    config = always(0.3)
    with apply_tokenseek(tiny_model("llama"), replace(config, dense_above=1 / 3)) as handle:
        handle.model(**packed_batch()).loss.backward()
        assert handle.last is None


def test_sequences_are_found_between_padding() -> None:
    valid = torch.tensor([[0, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0]]).bool()
    begun = torch.zeros_like(valid)
    begun[0, 3] = begun[1, 1] = True
    supervised = torch.tensor([[0, 0, 1, 0, 0, 1], [1, 0, 1, 1, 1, 0]]).bool()
    found = Sequences.find(valid, supervised, begun)
    tokens = torch.arange(12).view(2, 6) + 1
    assert found.rows == [0, 0, 1, 1]
    assert found.counts == Counts((2, 3, 1, 3), (1, 1, 1, 3), (1, 1, 1, 2))
    assert found.supervised.tolist() == [1, 1, 1, 3]
    rows = [row[real].tolist() for row, real in zip(found.apart(tokens), found.valid, strict=True)]
    assert rows == [[2, 3], [4, 5, 6], [7], [8, 9, 10]]
    assert torch.equal(found.together(found.apart(tokens)), tokens * valid)


BOUNDARIES: dict[str, Any] = {
    "cu_seq_lens_q": torch.tensor([0, 12, 22, 30]),
    "cu_seq_lens_k": torch.tensor([0, 12, 22, 30]),
    "max_length_q": 12,
    "max_length_k": 12,
    "seq_idx": torch.arange(3).repeat_interleave(torch.tensor(PACKED))[None],
}


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_boundaries_for_other_kernels_change_nothing(
    monkeypatch: pytest.MonkeyPatch, attention: str
) -> None:
    model = exact_model(monkeypatch)
    model.set_attn_implementation(attention)
    # With a cache, transformers looks for no packed sequences.
    model(**packed_batch(), **BOUNDARIES, use_cache=False).loss.backward()
    expected = gradients(model)
    taken = take_step(model, packed_batch() | BOUNDARIES, always(1.0))
    assert relative_error(taken.gradients, expected) < BOUND
    assert_exact(model, packed_batch() | BOUNDARIES, always(0.4))


@pytest.mark.parametrize("marked", ["no mask", "mask of ones", "boundaries alone"])
def test_packed_sequences_are_refused_where_the_kernel_finds_their_ends_itself(
    marked: str,
) -> None:
    model = tiny_model("llama")
    model.config._attn_implementation_internal = "flash_attention_2"
    batch = packed_batch()
    if marked == "mask of ones":
        batch["attention_mask"] = torch.ones_like(batch["labels"])
    if marked == "boundaries alone":
        del batch["position_ids"]
        batch |= BOUNDARIES
    with apply_tokenseek(model, always()), pytest.raises(InputError) as error:
        model(**batch)
    assert str(error.value) == (
        "position_ids (several sequences in a row) must count one sequence with FlashAttention; "
        'load the model with attn_implementation="sdpa"'
    )


@pytest.mark.parametrize("padding", ["none", "left", "right"])
def test_single_sequences_are_not_taken_for_packed_ones(padding: str) -> None:
    Batch.of(tiny_batch(padding)).require_known_sequences("tokenseek_flash_attention_2")
