"""`torch.compile`, pipelines and the Trainer that generates: what users wrap a model in."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import (
    DataCollatorForSeq2Seq,
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
    pipeline,
)

from saved import tiny_tokenizer
from tiny import prompts_of, tiny_batch, tiny_model, tuned


@pytest.fixture(autouse=True)
def fresh_dynamo() -> Iterator[None]:
    torch._dynamo.reset()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        warnings.filterwarnings("ignore", category=DeprecationWarning, module="torch")
        warnings.filterwarnings("ignore", "The .grad attribute", UserWarning)  # dynamo looks
        yield
    torch._dynamo.reset()


@pytest.mark.parametrize("family", ["llama", "gpt2"])  # whose remark on its loss breaks the graph
def test_a_compiled_step_is_the_step(family: str) -> None:
    model, batch = tuned(tiny_model(family)), tiny_batch(family)
    compiled: Any = torch.compile(model, backend="aot_eager")
    found = compiled(**batch)  # before a step has run without
    found.loss.backward()
    grads = {name: p.grad.clone() for name, p in prompts_of(model).items() if p.grad is not None}
    model.zero_grad()
    expected = model(**batch)
    expected.loss.backward()
    torch.testing.assert_close(found.logits, expected.logits, rtol=1e-9, atol=1e-9)
    for name, parameter in prompts_of(model).items():
        torch.testing.assert_close(grads[name], parameter.grad, rtol=1e-8, atol=1e-8)


def test_pipelines_take_a_model_with_prompts() -> None:
    writing = tuned(tiny_model("llama").float()).eval()
    tokenizer: Any = tiny_tokenizer("llama")
    settings: dict[str, Any] = {"max_new_tokens": 3, "do_sample": False}
    write: Any = pipeline("text-generation", model=writing, tokenizer=tokenizer, device="cpu")
    found = write("the sun", return_full_text=False, **settings)[0]["generated_text"]
    inputs = tokenizer("the sun", return_tensors="pt")
    tokens = writing.generate(**inputs, **settings)[0, inputs["input_ids"].shape[1] :]
    assert found.split() == tokenizer.decode(tokens, skip_special_tokens=True).split()

    reading = tuned(tiny_model("bert", "SEQ_CLS").float(), "SEQ_CLS").eval()
    tokenizer = tiny_tokenizer("bert")
    read: Any = pipeline("text-classification", model=reading, tokenizer=tokenizer, device="cpu")
    with torch.no_grad():
        likely = reading(**tokenizer("the sun", return_tensors="pt")).logits[0].softmax(0)
    assert read("the sun")[0]["score"] == pytest.approx(float(likely.max()), rel=1e-5)


def test_the_trainer_that_generates_scores_what_prompts_write(tmp_path: Path) -> None:
    model = tuned(tiny_model("t5").float())
    rows = [{"input_ids": [3, 4, 5, place + 3], "labels": [place + 4, 2]} for place in range(8)]
    written: list[Any] = []
    arguments = Seq2SeqTrainingArguments(
        str(tmp_path),
        max_steps=1,
        use_cpu=True,
        report_to=[],
        disable_tqdm=True,
        save_strategy="no",
        predict_with_generate=True,
        generation_max_length=4,
    )
    trainer = Seq2SeqTrainer(
        model,
        arguments,
        data_collator=DataCollatorForSeq2Seq(tiny_tokenizer("t5")),
        train_dataset=rows,
        eval_dataset=rows,  # type: ignore[arg-type]
        compute_metrics=lambda found: written.append(found.predictions) or {"count": 8},  # type: ignore[func-returns-value]
    )
    trainer.train()
    trainer.evaluate()
    ids = torch.tensor([row["input_ids"] for row in rows])
    expected = model.generate(input_ids=ids, max_length=4)
    assert torch.equal(torch.tensor(written[0])[:, : expected.shape[1]], expected)


def test_a_second_adapter_may_be_loaded_in_another_precision(tmp_path: Path) -> None:
    model = tuned(tiny_model("llama").float())
    model.save_pretrained(str(tmp_path))
    batch = tiny_batch("llama")
    with torch.no_grad():
        expected = model.eval()(**batch).logits
        half = PeftModel.from_pretrained(tiny_model("llama").bfloat16(), tmp_path).eval()
        assert {p.dtype for p in prompts_of(half).values()} == {torch.float32}
        assert half(**batch).logits.dtype == torch.bfloat16
        torch.testing.assert_close(half(**batch).logits.float(), expected, rtol=0.2, atol=0.2)
        loaded = PeftModel.from_pretrained(tiny_model("llama").float(), tmp_path).eval()
        loaded.load_adapter(tmp_path, adapter_name="again", torch_device="cpu")
        loaded.set_adapter("again")
        assert torch.equal(loaded(**batch).logits, expected)
