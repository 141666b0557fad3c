"""Prompts in TRL's SFTTrainer, and over a base of four bits: they learn, or are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from torch import Tensor
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from datasets import Dataset
from saved import tiny_tokenizer
from tiny import prompts_of, tiny_batch, tiny_model, tuned
from tokenseek_common import InputError

pytestmark = [
    pytest.mark.trainers,
    # TRL and bitsandbytes call transformers and torch by older names.
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

COMPLETIONS = [{"prompt": "the sun", "completion": " glad day"}] * 8
TEXTS = [{"text": "the sun of song a day"}] * 8


def trained(folder: Path, rows: list[dict[str, str]], prompts: dict[str, Any], **said: Any) -> bool:
    """Whether two steps moved every tensor that they should."""
    trl = pytest.importorskip("trl", reason="TRL is not there")
    model = tuned(tiny_model("llama").float(), **prompts)
    before = {name: p.clone() for name, p in prompts_of(model).items()}
    arguments = trl.SFTConfig(
        str(folder),
        max_steps=2,
        use_cpu=True,
        bf16=False,
        report_to=[],
        disable_tqdm=True,
        save_strategy="no",
        per_device_train_batch_size=4,
        **said,
    )
    trainer = trl.SFTTrainer(
        model,
        args=arguments,
        train_dataset=Dataset.from_list(rows),
        processing_class=tiny_tokenizer("llama"),
    )
    trainer.train()
    return not any(torch.equal(p, before[name]) for name, p in prompts_of(model).items())


@pytest.mark.parametrize("loss", ["nll", "chunked_nll"])
@pytest.mark.parametrize(
    ("rows", "prompts"),
    [(COMPLETIONS, {}), (TEXTS, {"routing_prefix": 0.5})],
    ids=["completions", "texts"],
)
def test_prompts_learn_in_sft(
    rows: list[dict[str, str]], prompts: dict[str, Any], loss: str, tmp_path: Path
) -> None:
    assert trained(tmp_path, rows, prompts | {"top_k": 4}, loss_type=loss)


@pytest.mark.parametrize(
    "said",
    [{"packing": True, "max_length": 16}, {"padding_free": True, "max_length": None}],
    ids=["packed", "padding-free"],
)
def test_several_texts_in_a_row_are_refused(said: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"position_ids \(packed sequences\) must not begin again"):
        trained(tmp_path, TEXTS, {"routing_prefix": 0.5}, **said)


def test_prompts_over_four_bits_are_those_over_what_these_stand_for(tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes", reason="bitsandbytes is not there")
    sizes: dict[str, Any] = {"hidden_size": 64, "head_dim": 16, "intermediate_size": 128}
    base = tmp_path / "base"
    tiny_model("llama", **sizes).float().save_pretrained(base)
    four = BitsAndBytesConfig(load_in_4bit=True)
    adapter, batch = tmp_path / "adapter", tiny_batch("llama")

    def opened() -> Any:
        return AutoModelForCausalLM.from_pretrained(base, quantization_config=four)

    model = tuned(opened())
    model(**batch).loss.backward()
    prompts = prompts_of(model)
    assert {p.dtype for p in prompts.values()} == {torch.float32}
    grads: list[Tensor | None] = [p.grad for p in prompts.values()]
    assert all(grad is not None and bool(grad.isfinite().all()) for grad in grads)
    model.save_pretrained(str(adapter))
    loaded = PeftModel.from_pretrained(opened(), adapter).eval()
    with torch.no_grad():
        expected = model.eval()(**batch).logits
        torch.testing.assert_close(loaded(**batch).logits, expected)
