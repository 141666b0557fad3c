"""What a step asks of a device: calls, operations, reads of the head's table, and waiting."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import AutoModelForCausalLM, LlamaConfig, masking_utils

from counting import Counted, Counting, Waiting
from families import tiny_batch, tiny_model
from tokenseek_core import TokenSeekConfig, apply_tokenseek
from tokenseek_core._anatomy import replaced
from tokenseek_core._batch import Counts

LAYERS, S, D, FF, D_KV, V = 16, 8192, 2048, 8192, 512, 128256
DEFAULT = TokenSeekConfig(check=False)
PAPER = replace(TokenSeekConfig.paper(), check=False)


@contextmanager
def roomy_device(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fake tensors on a device with room for the largest chunks, all of which are walked."""
    with monkeypatch.context() as patch, FakeTensorMode():
        patch.setattr("tokenseek_core._chunks.LEAST", 2**30)
        for module in ("_head", "_projection", "_context"):
            patch.setattr(f"tokenseek_core.{module}.walked", lambda size, chunk, tensor: size)
        # transformers takes fake tensors for those of a compiler, and makes a mask of all pairs.
        with replaced(masking_utils, "find_packed_sequence_indices", lambda position_ids: None):
            yield


def counted(monkeypatch: pytest.MonkeyPatch, config: TokenSeekConfig | None) -> Counted:
    """Count a step of the shape of Llama-3.2-1B over 8192 tokens; its layers are alike."""
    found: list[Counted] = []
    for layers in (2, 3):
        with roomy_device(monkeypatch):
            shape = LlamaConfig(
                vocab_size=V,
                hidden_size=D,
                intermediate_size=FF,
                num_hidden_layers=layers,
                num_attention_heads=D // 64,
                num_key_value_heads=D_KV // 64,
                tie_word_embeddings=True,
            )
            model = AutoModelForCausalLM.from_config(shape, dtype=torch.bfloat16).train()
            if config is not None:
                apply_tokenseek(model, config)
            ids = torch.zeros((1, S), dtype=torch.long)
            with Counting(model.get_input_embeddings().weight) as counting:
                model(input_ids=ids, labels=ids, use_cache=False).loss.backward()
        found.append(counting.counted)
    return found[0].extrapolated(found[1], LAYERS - 2)


def stated_operations(ratio: float) -> float:
    """Those of a default step, as the docstring of `training_step` states them."""
    linear = 2 * S * (2 * D * D + 2 * D * D_KV + 3 * D * FF)
    attention = 4 * S * S * D
    head = 2 * S * D * V
    record = LAYERS * (linear + attention)
    exact = 5 * linear + 7 * attention
    replay = (LAYERS - 1) * ratio * (3 * linear + 3.5 * attention)
    return record + exact + replay + 4 * head


def test_a_default_step_costs_a_device_what_is_stated(monkeypatch: pytest.MonkeyPatch) -> None:
    dense, ours = counted(monkeypatch, None), counted(monkeypatch, DEFAULT)
    assert ours.calls < 3000
    assert ours.calls < 2 * dense.calls
    assert ours.reads <= 6
    assert 0.9 * stated_operations(0.1) < ours.operations < 1.1 * stated_operations(0.1)
    assert ours.operations < 0.65 * dense.operations


def test_the_attention_score_takes_no_long_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    assert counted(monkeypatch, PAPER).calls < 3600


@pytest.mark.parametrize("padding", ["none", "left", "right"])
@pytest.mark.parametrize(
    "config",
    [DEFAULT, PAPER, replace(PAPER, selector="random"), replace(PAPER, logits=False)],
    ids=["default", "paper", "random", "chunks"],
)
def test_a_step_waits_for_its_device_once(
    monkeypatch: pytest.MonkeyPatch, config: TokenSeekConfig, padding: str
) -> None:
    reads: list[str] = []
    monkeypatch.setattr("tokenseek_core._step.count_rows", lambda targets, at_most: at_most)
    for name in ("tolist", "cpu", "numpy", "__bool__", "__int__", "__float__"):
        reading = getattr(Tensor, name)

        def spy(tensor: Tensor, *args: Any, name: str = name, reading: Any = reading) -> Any:
            reads.append(name)
            return reading(tensor, *args)

        monkeypatch.setattr(Tensor, name, spy)
    model, batch = tiny_model("llama-tied"), tiny_batch(padding)
    with apply_tokenseek(model, config), Waiting():
        model(**batch).loss.backward()
    assert reads == ["tolist"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("config", [DEFAULT, PAPER], ids=["default", "paper"])
def test_a_gpu_is_waited_for_once(monkeypatch: pytest.MonkeyPatch, config: TokenSeekConfig) -> None:
    read = Counts.read
    reads: list[int] = []

    def allowed(*args: Any) -> Counts:
        torch.cuda.set_sync_debug_mode("default")
        reads.append(1)
        counts = read(*args)
        torch.cuda.set_sync_debug_mode("error")
        return counts

    monkeypatch.setattr(Counts, "read", allowed)
    model = tiny_model("llama-tied")
    torch.nn.Module.cuda(model)
    batch = {name: value.to("cuda") for name, value in tiny_batch("left").items()}
    with apply_tokenseek(model, config):
        torch.cuda.set_sync_debug_mode("error")
        try:
            model(**batch).loss.backward()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    assert len(reads) == 1
