"""The comparison with the reference notices what it is there for."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import reference
from compared import assert_as_reference
from mept import _stack
from mept._decoder import DecoderStack
from mept._encoder import EncoderStack
from tiny import prompts_of, tiny_model, tuned

pytestmark = pytest.mark.usefixtures("float64")


def keep_positions(self: DecoderStack, positions: Tensor, rows: int) -> Tensor:
    return F.pad(positions, (rows, 0))


def hide_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    prompt = _stack.Stack.prompt

    def hidden(self: Any, stack: Any, arguments: dict[str, Any], config: Any, *rest: Any) -> None:
        prompt(self, stack, arguments, config, *rest)
        arguments["attention_mask"][:, : config.num_virtual_tokens] = 0

    monkeypatch.setattr(_stack.Stack, "prompt", hidden)


def test_dropping_the_shift_of_positions_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DecoderStack, "_positions", keep_positions)
    with pytest.raises(AssertionError):
        assert_as_reference("llama", "right")


@pytest.mark.parametrize("family", ["llama", "gpt2", "t5", "bart", "bert"])
def test_masking_the_prompt_rows_is_noticed(monkeypatch: pytest.MonkeyPatch, family: str) -> None:
    hide_rows(monkeypatch)
    with pytest.raises(AssertionError):
        assert_as_reference(family, "right")


def test_not_moving_inputs_behind_their_padding_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mept._encoder.moved", lambda rows, lead: rows)
    with pytest.raises(AssertionError):
        assert_as_reference("t5", "left")


def test_moving_learned_positions_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EncoderStack, "skip_rows", lambda self, module, args: args)
    monkeypatch.setattr(EncoderStack, "pad_rows", lambda self, module, args, output: output)
    with pytest.raises(AssertionError):
        assert_as_reference("bart", "right")


@pytest.mark.parametrize("mutation", ["positions", "mask"])
def test_generated_tokens_change_too(monkeypatch: pytest.MonkeyPatch, mutation: str) -> None:
    model = tuned(tiny_model("llama")).eval()
    model.get_base_model().generation_config.eos_token_id = None
    ids = torch.randint(3, 61, (1, 6))
    with torch.no_grad():
        expected = reference.greedy(tiny_model("llama"), prompts_of(model), ids[0], 2, 16)
    settings: dict[str, Any] = {"max_new_tokens": 16, "do_sample": False}
    assert model.generate(input_ids=ids, **settings)[0, 6:].tolist() == expected
    if mutation == "positions":
        monkeypatch.setattr(DecoderStack, "_positions", keep_positions)
    else:
        hide_rows(monkeypatch)
    assert model.generate(input_ids=ids, **settings)[0, 6:].tolist() != expected
