from __future__ import annotations

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from float64 import spare_float64
from real_data import DATA, needs
from slow_reference import gradients, relative_error, slow_loss
from taken import always, take_step
from tokenseek_core import apply_tokenseek

MODEL = DATA / "models/stories260K"
TEXT = DATA / "text/tinyshakespeare"

pytestmark = [pytest.mark.real, needs("models/stories260K", "text/tinyshakespeare")]


@pytest.fixture
def model() -> PreTrainedModel:
    loaded: PreTrainedModel = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32)
    loaded.train()
    return loaded


@pytest.fixture(scope="module")
def windows() -> Tensor:
    """The start of the text, cut into rows of 128 tokens."""
    file = next(TEXT.glob("*.txt"))
    text = file.read_text(encoding="utf-8")[:60_000]
    tokens = AutoTokenizer.from_pretrained(MODEL)(text)["input_ids"]
    return torch.tensor(tokens[: len(tokens) // 128 * 128]).view(-1, 128)


def test_the_gradient_of_trained_weights_equals_the_slow_reference(
    monkeypatch: pytest.MonkeyPatch, model: PreTrainedModel, windows: Tensor
) -> None:
    model.double()
    spare_float64(monkeypatch)
    batch = {"input_ids": windows[:2], "labels": windows[:2]}
    taken = take_step(model, batch, always(ratio=0.1))
    reference = slow_loss(model, batch, taken.keep)
    reference.backward()
    assert taken.loss == pytest.approx(reference.item(), rel=1e-10)
    assert relative_error(taken.gradients, gradients(model)) < 1e-10


@pytest.mark.parametrize("selector", ["tokenseek", "random"])
def test_a_trained_model_learns_another_text_through_a_tenth_of_its_tokens(
    model: PreTrainedModel, windows: Tensor, selector: str
) -> None:
    def held_out() -> float:
        with torch.no_grad():
            return float(model(input_ids=windows[:16], labels=windows[:16]).loss)

    torch.manual_seed(0)
    before = held_out()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    with apply_tokenseek(model, always(ratio=0.1, selector=selector)) as handle:
        for rows in windows[16:].split(8)[:20]:
            model(input_ids=rows, labels=rows).loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
        assert handle.last is not None
        assert handle.last.indices.shape[1] == 13
    assert held_out() < before - 0.3
