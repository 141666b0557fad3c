"""What feeds forward may run in tiles of tokens, and changes nothing by it."""

from __future__ import annotations

from typing import Any

import pytest
from torch import Tensor

from exact import assert_exact_again, assert_reference, exact_model
from families import FAMILIES, tiny_batch, tiny_model
from taken import always, take_step
from tokenseek_core._anatomy import find_blocks
from tokenseek_core._tiles import feeds_forward, run_tiles, widest

ROWS = 7


@pytest.fixture(autouse=True)
def tiles(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Tiles of seven tokens; and how many tokens the parts that feed forward were given."""
    found: list[int] = []

    def run(forward: Any, width: int, hidden: Tensor) -> Any:
        limit = ROWS * len(hidden) * width * hidden.dtype.itemsize
        monkeypatch.setattr("tokenseek_core._tiles.LEAST", limit)
        monkeypatch.setattr("tokenseek_core._chunks.MOST_ON_HOST", limit)

        def seen(tile: Tensor) -> Any:
            found.append(tile.shape[1])
            return forward(tile)

        return run_tiles(seen, width, hidden)

    monkeypatch.setattr("tokenseek_core._tiles.run_tiles", run)
    return found


@pytest.mark.parametrize("selector", ["random", "gradient"])
@pytest.mark.parametrize("gradient", ["restart", "inject"])
@pytest.mark.parametrize("family", ["llama", "gpt2", "mixtral", "qwen3_moe"])
def test_tiles_equal_the_slow_reference(
    monkeypatch: pytest.MonkeyPatch, tiles: list[int], family: str, gradient: Any, selector: str
) -> None:
    model = exact_model(monkeypatch, family)
    config = always(gradient=gradient, selector=selector)
    taken = take_step(model, tiny_batch("left"), config)
    if family in ("llama", "gpt2"):
        assert max(tiles) == ROWS
    assert_reference(taken, model, tiny_batch("left"), gradient=gradient)


@pytest.mark.parametrize("gradient", ["restart", "inject"])
@pytest.mark.parametrize("way", ["checkpointing", "reentrant", "lora"])
def test_tiles_may_be_computed_again_as_parts_of_blocks(
    monkeypatch: pytest.MonkeyPatch, tiles: list[int], way: str, gradient: Any
) -> None:
    assert_exact_again(monkeypatch, way, gradient)
    assert max(tiles) == ROWS


@pytest.mark.parametrize("family", FAMILIES)
def test_no_attention_is_taken_for_what_feeds_forward(family: str) -> None:
    model = tiny_model(family)
    block = find_blocks(model.get_decoder(), model)[0]
    names = [name for name, part in block.named_children() if feeds_forward(part)]
    without = ("opt", "mixtral", "qwen3_moe")  # projections of the block itself; experts
    assert names == ([] if family.startswith(without) else ["mlp"])
    assert all(widest(block.get_submodule(name)) > 32 for name in names)
