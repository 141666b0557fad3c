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
from torch.utils._python_dispatch import _disable_current_modes
from transformers import AutoModelForCausalLM, LlamaConfig, masking_utils

from counting import Counted, Counting, Waiting
from families import packed_batch, tiny_batch, tiny_model
from tokenseek_core import TokenSeekConfig, apply_tokenseek
from tokenseek_core._anatomy import replaced
from tokenseek_core._counts import supposed_supervised
from tokenseek_core._instances import Instance
from tokenseek_core._sequences import read_instances
from tokenseek_core.inspect import Method, chunked_loss, using
from tokenseek_core.inspect._operations import Sizes, step_operations

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


DENSE = Method("dense")


def counted(
    monkeypatch: pytest.MonkeyPatch,
    method: Method = DENSE,
    supervised: float = 1.0,
    *,
    adapters: bool = False,
    batch: tuple[int, int] = (1, S),
) -> Counted:
    """Count a step of the shape of Llama-3.2-1B; its layers are alike."""
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
            for parameter in model.parameters():  # as beside adapters, which count as nothing
                parameter.requires_grad_(parameter.ndim == 1 or not adapters)
            ids = torch.zeros(batch, dtype=torch.long)
            with (
                using(model, method),
                Counting(model.get_input_embeddings().weight) as counting,
            ):
                method.loss_of(model, {"input_ids": ids, "labels": ids}).backward()
        found.append(counting.counted)
    return found[0].extrapolated(found[1], LAYERS - 2)


@pytest.fixture(scope="module")
def dense() -> Counted:
    """A dense step."""
    with pytest.MonkeyPatch.context() as patch:
        return counted(patch)


def stated(method: Method, supervised: float = 1.0, *, adapters: bool = False) -> float:
    """Operations of a step, as they are told beforehand."""
    sizes = Sizes(LAYERS, 2 * D * D + 2 * D * D_KV + 3 * D * FF, D, D * V)
    return step_operations(sizes, Instance(S, round(supervised * S)), method, adapters=adapters)


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
    method = Method("ours", config)
    ours = counted(monkeypatch, method, supervised)
    assert ours.operations == pytest.approx(stated(method, supervised), rel=0.1)
    assert ours.operations < share_of_dense * dense.operations
    assert ours.calls < (3000 if config == DEFAULT else 2 * dense.calls)
    assert ours.reads <= 6


@pytest.mark.parametrize(
    ("batch", "config", "share_of_dense"),
    [
        ((8, 2048), replace(DEFAULT, ratio=0.3), 0.85),
        ((1, 2048), DEFAULT, 0.70),
    ],
    ids=["8 x 2048, three tenths", "1 x 2048"],
)
def test_short_sequences_cost_less_operations_too(
    monkeypatch: pytest.MonkeyPatch,
    batch: tuple[int, int],
    config: TokenSeekConfig,
    share_of_dense: float,
) -> None:
    ours = counted(monkeypatch, Method("ours", config), batch=batch)
    dense = counted(monkeypatch, batch=batch)
    assert ours.operations < share_of_dense * dense.operations


@pytest.mark.parametrize("adapters", [False, True], ids=["full", "frozen"])
@pytest.mark.parametrize(
    ("method", "supervised"),
    [
        (DENSE, 1),
        (Method("chunked", checkpointing=True, loss=chunked_loss), 512 / S),
        (Method("default", DEFAULT, checkpointing=True), 1),
        (Method("answers", ANSWERS), 512 / S),
    ],
    ids=["dense", "chunked", "default", "answers"],
)
def test_so_do_dense_and_checkpointed_steps_and_those_beside_frozen_weights(
    monkeypatch: pytest.MonkeyPatch, method: Method, supervised: float, adapters: bool
) -> None:
    ours = counted(monkeypatch, method, supervised, adapters=adapters)
    assert ours.operations == pytest.approx(stated(method, supervised, adapters=adapters), rel=0.1)


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
    counting: list[str] = []
    monkeypatch.setattr("tokenseek_core._step.count_rows", lambda targets, at_most: at_most)
    for name in ("tolist", "cpu", "numpy", "__bool__", "__int__", "__float__"):
        reading = getattr(Tensor, name)

        def spy(tensor: Tensor, *args: Any, name: str = name, reading: Any = reading) -> Any:
            reads.append(name)
            return reading(tensor, *args)

        monkeypatch.setattr(Tensor, name, spy)

    def counted(*args: Any) -> Any:
        with _disable_current_modes():
            found = read_instances(*args)
        counting.extend(reads)
        reads.clear()
        return found

    monkeypatch.setattr("tokenseek_core._batch.read_instances", counted)
    model = tiny_model("llama-tied")
    with apply_tokenseek(model, config), Waiting():
        model(**inputs).loss.backward()
    assert reads == []
    if "position_ids" in inputs:  # once the marks are on the host, all else is read there
        assert counting[0] == "cpu"
        assert counting.count("cpu") == 1
    else:
        assert counting == ["tolist"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("packed", [False, True], ids=["padded", "packed"])
@pytest.mark.parametrize("config", [DEFAULT, PAPER], ids=["default", "paper"])
def test_a_gpu_is_waited_for_once(
    monkeypatch: pytest.MonkeyPatch, config: TokenSeekConfig, packed: bool
) -> None:
    reads: list[int] = []

    def allowed(*args: Any) -> Any:
        torch.cuda.set_sync_debug_mode("default")
        reads.append(1)
        found = read_instances(*args)
        torch.cuda.set_sync_debug_mode("error")
        return found

    monkeypatch.setattr("tokenseek_core._batch.read_instances", allowed)
    model = tiny_model("llama-tied")
    torch.nn.Module.cuda(model)
    given = packed_batch() if packed else tiny_batch("left")
    batch = {name: value.to("cuda") for name, value in given.items()}
    with apply_tokenseek(model, config):
        torch.cuda.set_sync_debug_mode("error")
        try:
            model(**batch).loss.backward()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    assert len(reads) == 1
