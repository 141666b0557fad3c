"""The comparison with the reference notices what it is there for."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import reference
from compared import BOUND, assert_as_reference
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


def change_steps(monkeypatch: pytest.MonkeyPatch, mutation: str) -> None:
    """Let steps behind a cache miss the shift of their position, or extend the mask behind it."""
    extend = DecoderStack._continue

    def changed(self: DecoderStack, arguments: dict[str, Any], rows: int, length: int) -> None:
        extend(self, arguments, rows, length)
        if mutation == "positions":
            arguments["position_ids"] = arguments["position_ids"] - rows
        else:
            arguments["attention_mask"] = arguments["attention_mask"].roll(-rows, 1)

    monkeypatch.setattr(DecoderStack, "_continue", changed)


@pytest.mark.parametrize("step", [False, True], ids=["prompt", "step"])
@pytest.mark.parametrize("mutation", ["positions", "mask"])
def test_what_is_generated_changes_too(
    monkeypatch: pytest.MonkeyPatch, mutation: str, step: bool
) -> None:
    model = tuned(tiny_model("llama")).eval()
    model.get_base_model().generation_config.eos_token_id = None
    ids, mask = torch.randint(3, 61, (1, 6)), torch.tensor([[0, 0, 1, 1, 1, 1]])

    def generated() -> Any:
        settings: dict[str, Any] = {"max_new_tokens": 16, "do_sample": False, "output_logits": True}
        return model.generate(ids, attention_mask=mask, return_dict_in_generate=True, **settings)

    found = generated()
    with torch.no_grad():
        plain, prompts = tiny_model("llama"), prompts_of(model)
        logits = reference.decoder_logits(plain, prompts, found.sequences[0, 2:], [0, 1, 2, 3], 2)
    expected = logits[3:-1]
    torch.testing.assert_close(torch.cat(found.logits), expected, rtol=BOUND, atol=BOUND)
    if step:
        change_steps(monkeypatch, mutation)
    elif mutation == "positions":
        monkeypatch.setattr(DecoderStack, "_positions", keep_positions)
    else:
        hide_rows(monkeypatch)
    changed = torch.cat(generated().logits)
    assert torch.allclose(changed[0], expected[0], rtol=BOUND, atol=BOUND) == step
    assert not torch.allclose(changed[1:], expected[1:], rtol=1e-3, atol=1e-3)
