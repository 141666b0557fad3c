from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel, get_peft_model
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from mept import MeptConfig
from real_data import DATA, needs

MODEL = DATA / "models/stories260K"
TEXT = DATA / "text/tinyshakespeare"

pytestmark = [pytest.mark.real, needs("models/stories260K", "text/tinyshakespeare")]


def prompted(**settings: Any) -> Any:
    torch.manual_seed(0)
    config = MeptConfig(task_type="CAUSAL_LM", **settings)
    base = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32)
    return get_peft_model(base, config)


@pytest.fixture(scope="module")
def windows() -> Tensor:
    """The start of another text than the model was trained on, cut into rows of 96 tokens."""
    text = next(TEXT.glob("*.txt")).read_text(encoding="utf-8")[:40_000]
    tokens = AutoTokenizer.from_pretrained(MODEL)(text)["input_ids"]
    return torch.tensor(tokens[: len(tokens) // 96 * 96]).view(-1, 96)


def test_a_trained_model_learns_another_text_through_prompts(
    windows: Tensor, tmp_path: Path
) -> None:
    labels = windows.clone()
    labels[:, :16] = -100

    def held_out(model: PeftModel) -> float:
        with torch.no_grad():
            return float(model(input_ids=windows[:16], labels=labels[:16]).loss)

    model = prompted(num_virtual_tokens=8)
    before = held_out(model)
    trainable = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=3e-2)
    for rows in torch.arange(16, len(windows)).split(8)[:20]:
        model(input_ids=windows[rows], labels=labels[rows]).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    after = held_out(model)
    assert after < before - 0.3

    model.save_pretrained(str(tmp_path))
    base = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32)
    assert held_out(PeftModel.from_pretrained(base, tmp_path)) == after


def test_it_goes_on_with_a_story_the_same_with_a_cache_and_without() -> None:
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    model = prompted().eval()
    ids = tokenizer("Once upon a time, there was a little girl", return_tensors="pt")["input_ids"]
    settings: dict[str, Any] = {"max_new_tokens": 24, "do_sample": False}
    cached = model.generate(input_ids=ids, **settings)
    assert torch.equal(model.generate(input_ids=ids, use_cache=False, **settings), cached)
    assert cached.shape[1] > ids.shape[1]
    with model.disable_adapter():
        assert not torch.equal(model.generate(input_ids=ids, **settings), cached)
