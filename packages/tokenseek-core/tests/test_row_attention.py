"""Attention of the kept rows in chunks: exact whatever the mask, and no mask is kept or whole."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import LlamaConfig, LlamaForCausalLM

from exact import BOUND, assert_exact, assert_exact_again, exact_model
from families import packed_batch, tiny_batch
from slow_reference import relative_error
from taken import always, take_step
from tokenseek_core import apply_tokenseek
from tokenseek_core._chunks import MOST_ON_HOST
from tokenseek_core._row_attention import Chunk, cut

ONE_ROW = 1
"""Bytes of a chunk that are always too few."""

TWO_ROWS = 3 * 2 * 20 * 8
"""Bytes of a mask of two rows and 20 keys, for three instances in float64."""


@pytest.fixture(params=[ONE_ROW, TWO_ROWS], ids=["row by row", "two rows and more"])
def chunks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> list[list[Chunk]]:
    """Small chunks; and those that were cut."""
    found: list[list[Chunk]] = []

    def spy(seen: Any, row_bytes: int, limit: int) -> list[Chunk]:
        found.append(cut(seen, row_bytes, limit))
        return found[-1]

    monkeypatch.setattr("tokenseek_core._row_attention.MOST", request.param)
    monkeypatch.setattr("tokenseek_core._row_attention.cut", spy)
    return found


def test_chunks_are_as_large_as_may_be_and_see_no_key_after_their_last_row() -> None:
    assert cut([3, 5, 6, 9, 40], row_bytes=2, limit=36) == [(0, 3, 6), (3, 4, 9), (4, 5, 40)]
    assert cut([8, 8, 8], row_bytes=1, limit=16) == [(0, 2, 8), (2, 3, 8)]
    assert cut([7], row_bytes=9, limit=1) == [(0, 1, 7)]


@pytest.mark.parametrize("gradient", ["restart", "inject"])
@pytest.mark.parametrize("padding", ["none", "left", "right"])
@pytest.mark.parametrize("family", ["llama", "mistral", "gpt2", "gemma2", "gemma3_text"])
def test_rows_in_chunks_equal_the_slow_reference(
    monkeypatch: pytest.MonkeyPatch,
    chunks: list[list[Chunk]],
    family: str,
    padding: str,
    gradient: Any,
) -> None:
    assert_exact(exact_model(monkeypatch, family), tiny_batch(padding), always(gradient=gradient))
    assert max(map(len, chunks)) > 1
    if (family, padding) == ("llama", "none"):
        assert all(chunk.seen <= 20 for cut in chunks for chunk in cut)
        assert min(chunk.seen for cut in chunks for chunk in cut) < 10


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_packed_rows_in_chunks_equal_the_slow_reference(
    monkeypatch: pytest.MonkeyPatch, chunks: list[list[Chunk]], attention: str
) -> None:
    model = exact_model(monkeypatch)
    model.set_attn_implementation(attention)
    assert_exact(model, packed_batch(), always())
    assert max(map(len, chunks)) > 1


@pytest.mark.parametrize("heads", [1, 4])
@pytest.mark.parametrize("additive", [False, True], ids=["boolean", "additive"])
def test_given_masks_in_chunks_equal_the_slow_reference(
    monkeypatch: pytest.MonkeyPatch, chunks: list[list[Chunk]], heads: int, additive: bool
) -> None:
    """Each head with a window of its own; a token may see what comes after it."""
    places = torch.arange(20)
    distance = (places[:, None] - places).expand(3, heads, -1, -1)
    mask = distance.abs() <= torch.tensor([3, 5, 7, 9])[:heads, None, None]
    if additive:
        mask = torch.zeros(mask.shape, dtype=torch.float64).masked_fill(~mask, -1e300)
    batch = tiny_batch() | {"attention_mask": mask}
    if not additive:  # as the slow reference, which adds masks, has to be given them
        batch["attention_mask"] = torch.zeros(mask.shape).double().masked_fill(~mask, -1e300)
        model = exact_model(monkeypatch)
        expected = take_step(model, batch, always())
        found = take_step(model, batch | {"attention_mask": mask}, always())
        assert relative_error(found.gradients, expected.gradients) < BOUND
    else:
        assert_exact(exact_model(monkeypatch), batch, always())
    assert max(map(len, chunks)) > 1


@pytest.mark.parametrize("gradient", ["restart", "inject"])
@pytest.mark.parametrize("way", ["checkpointing", "reentrant", "lora"])
def test_rows_in_chunks_may_be_computed_again_as_parts_of_blocks(
    monkeypatch: pytest.MonkeyPatch, chunks: list[list[Chunk]], way: str, gradient: Any
) -> None:
    assert_exact_again(monkeypatch, way, gradient)
    assert max(map(len, chunks)) > 1


class Largest(TorchDispatchMode):
    """Knows the largest tensor that was made, in bytes."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        if isinstance(output, Tensor):
            self.bytes = max(self.bytes, output.untyped_storage().nbytes())
        return output


@pytest.mark.parametrize("gradient", ["restart", "inject"])
def test_a_long_step_makes_no_tensor_of_kept_rows_times_keys(gradient: Any) -> None:
    torch.set_num_threads(1)
    s, ratio = 8192, 0.3
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=64,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            max_position_embeddings=s,
        )
    ).train()
    ids = torch.randint(3, 64, (1, s))
    config = always(ratio, selector="random", gradient=gradient, check=False)
    with apply_tokenseek(model, config), Largest() as largest:
        model(input_ids=ids, labels=ids).loss.backward()
    assert largest.bytes <= 1.01 * MOST_ON_HOST  # rows begin at aligned places
    assert ratio * s * s > MOST_ON_HOST  # of a boolean mask
