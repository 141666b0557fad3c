from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from exact import BOUND, assert_exact, exact_model
from families import PACKED, packed_batch, tiny_batch, tiny_model
from slow_reference import gradients, relative_error
from taken import always, take_step
from tokenseek_common import InputError
from tokenseek_core import Signals, apply_tokenseek
from tokenseek_core._batch import Batch


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


def test_the_budget_counts_the_row_not_its_sequences() -> None:
    taken = take_step(tiny_model("llama"), packed_batch(), always(0.3))
    assert taken.keep.sum() == math.ceil(0.3 * sum(PACKED))


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
