from __future__ import annotations

import json
import random

import pytest
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BartForConditionalGeneration,
    PreTrainedModel,
)

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


@needs("models/g2p-bart-us", "text/g2p")
def test_an_encoder_decoder_learns_to_pronounce_words_that_it_was_not_given() -> None:
    folder = DATA / "models/g2p-bart-us"
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    signs, sounds = config["grapheme_chars"], config["phoneme_chars"]
    known = json.loads((DATA / "text/g2p/us_gold.json").read_text(encoding="utf-8"))
    words = sorted(w for w, said in known.items() if {*w} <= {*signs} and {*said} <= {*sounds})
    random.Random(0).shuffle(words)

    def batch(some: list[str]) -> dict[str, Tensor]:
        read = [[1, *map(signs.index, word), 2] for word in some]
        said = [[1, *map(sounds.index, known[word]), 2] for word in some]
        ids = pad_sequence([torch.tensor(row) for row in read], True, 0)
        labels = pad_sequence([torch.tensor(row) for row in said], True, -100)
        return {"input_ids": ids, "attention_mask": (ids != 0).long(), "labels": labels}

    def held_out(model: PreTrainedModel) -> float:
        with torch.no_grad():
            return float(model.eval()(**batch(words[:400])).loss)

    torch.manual_seed(0)
    model = BartForConditionalGeneration.from_pretrained(folder)
    before = held_out(model)
    optimizer = torch.optim.AdamW(model.train().parameters(), lr=2e-4)
    with apply_tokenseek(model, always(ratio=0.3, selector="sampled")) as handle:
        for first in range(400, 400 + 40 * 32, 32):
            model(**batch(words[first : first + 32])).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        assert handle.last is not None
        assert handle.last.source is not None
        assert (handle.last.source > 0).float().mean() < 0.4
    assert held_out(model) < 0.97 * before
