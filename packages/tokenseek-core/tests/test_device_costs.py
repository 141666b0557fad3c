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
from families import packed_batch, tiny_batch, tiny_model
from tokenseek_core import TokenSeekConfig, apply_tokenseek
from tokenseek_core._anatomy import replaced
from tokenseek_core._batch import Counts, supposed_supervised

LAYERS, S, D, FF, D_KV, V = 16, 8192, 2048, 8192, 512, 128256
DEFAULT = TokenSeekConfig(check=False)
PAPER = replace(TokenSeekConfig.paper(), check=False)
RANDOM = replace(PAPER, selector="random")
ANSWERS = replace(TokenSeekConfig.answers(), dense_above=None, check=False)


@contextmanager
def roomy_device(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fake tensors on a device with room for the largest chunks, all of which are walked."""
    with monkeypatch.context() as patch, FakeTensorMode():
        patch.setattr("tokenseek_core._chunks.LEAST", 2**30)
        for module in ("_head", "_projection", "_context", "_row_attention"):
            patch.setattr(f"tokenseek_core.{module}.walked", lambda size, chunk, tensor: size)
        # transformers takes fake tensors for those of a compiler, and makes a mask of all pairs.
        with replaced(masking_utils, "find_packed_sequence_indices", lambda position_ids: None):
            yield


def counted(
    monkeypatch: pytest.MonkeyPatch, config: TokenSeekConfig | None, supervised: float = 1.0
) -> Counted:
    """Count a step of the shape of Llama-3.2-1B over 8192 tokens; its layers are alike."""
    found: list[Counted] = []
    for layers in (2, 3):
        with roomy_device(monkeypatch), supposed_supervised(supervised):
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


@pytest.fixture(scope="module")
def dense() -> Counted:
    """A dense step."""
    with pytest.MonkeyPatch.context() as patch:
        return counted(patch, None)


def stated_operations(config: TokenSeekConfig, supervised: float) -> float:
    """Those of a step, as the docstring of `training_step` states them."""
    linear = 2 * S * (2 * D * D + 2 * D * D_KV + 3 * D * FF)
    attention = 4 * S * S * D
    head = 2 * S * D * V
    record = LAYERS * (linear + attention)
    replay = 3 * linear + 3.5 * attention
    if config.gradient == "inject":
        exact = 5 * linear + 7 * attention
        return record + exact + (LAYERS - 1) * config.ratio * replay + 4 * head * supervised
    answers = config.ratio if config.answer_ratio is None else config.answer_ratio
    kept = answers * supervised + config.ratio * (1 - supervised)
    scored = config.selector == "tokenseek"
    scores = linear + 3 * attention + 2 * head * supervised if scored else 0
    through_head = (3 if config.logits else 4) * answers * supervised * head
    return record + LAYERS * kept * replay + scores + through_head


@pytest.mark.parametrize(
    ("config", "supervised", "share_of_dense"),
    [
        (DEFAULT, 1, 0.65),
        (replace(DEFAULT, ratio=0.3), 1, 0.80),
        (PAPER, 1, 0.50),
        (RANDOM, 1, 0.45),
        (ANSWERS, 512 / S, 0.45),
    ],
    ids=["default", "default, three tenths", "paper", "random", "answers"],
)
def test_a_step_costs_a_device_what_is_stated(
    monkeypatch: pytest.MonkeyPatch,
    dense: Counted,
    config: TokenSeekConfig,
    supervised: float,
    share_of_dense: float,
) -> None:
    ours, stated = counted(monkeypatch, config, supervised), stated_operations(config, supervised)
    assert 0.9 * stated < ours.operations < 1.1 * stated
    assert ours.operations < share_of_dense * dense.operations
    assert ours.calls < (3000 if config == DEFAULT else 2 * dense.calls)
    assert ours.reads <= 6


@pytest.mark.parametrize("batch", ["none", "left", "right", "packed"])
@pytest.mark.parametrize(
    "config",
    [DEFAULT, PAPER, RANDOM, replace(PAPER, logits=False), ANSWERS],
    ids=["default", "paper", "random", "chunks", "answers"],
)
def test_a_step_waits_for_its_device_once(
    monkeypatch: pytest.MonkeyPatch, config: TokenSeekConfig, batch: str
) -> None:
    inputs = packed_batch() if batch == "packed" else tiny_batch(batch)
    reads: list[str] = []
    monkeypatch.setattr("tokenseek_core._step.count_rows", lambda targets, at_most: at_most)
    for name in ("tolist", "cpu", "numpy", "__bool__", "__int__", "__float__"):
        reading = getattr(Tensor, name)

        def spy(tensor: Tensor, *args: Any, name: str = name, reading: Any = reading) -> Any:
            reads.append(name)
            return reading(tensor, *args)

        monkeypatch.setattr(Tensor, name, spy)
    model = tiny_model("llama-tied")
    with apply_tokenseek(model, config), Waiting():
        model(**inputs).loss.backward()
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
