"""Train a small Llama in transformers' Seq2SeqTrainer, which evaluates by what it generates.

Densely, and with all tokens kept that carry the loss, behind a prompt of which a tenth is kept. The
task is embedded: to say a word of the prompt again.
"""

from __future__ import annotations

import random
import sys
import tempfile

import numpy as np
import torch
from transformers import (
    EvalPrediction,
    LlamaConfig,
    LlamaForCausalLM,
    PrinterCallback,
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
)

from datasets import Dataset
from tokenseek_core import TokenSeekConfig, apply_tokenseek

PROMPT, WORDS, BEGIN = 24, 16, 1


def task(count: int, seed: int) -> Dataset:
    """Prompts of one word many times over; the answer is that word."""
    words = random.Random(seed).choices(range(2, WORDS), k=count)
    rows = [[word] * PROMPT + [BEGIN] for word in words]
    return Dataset.from_list(
        [
            {"input_ids": [*row, word], "labels": [-100] * len(row) + [word]}
            for row, word in zip(rows, words, strict=True)
        ]
    )


def questions(count: int, seed: int) -> Dataset:
    """Prompts alone; the last of their labels, which must be as many, is the answer."""
    rows = task(count, seed)["input_ids"]
    return Dataset.from_list([{"input_ids": row[:-1], "labels": row[1:]} for row in rows])


def answered(prediction: EvalPrediction) -> dict[str, float]:
    """Share of answers that are right."""
    said, expected = np.asarray(prediction.predictions), np.asarray(prediction.label_ids)
    return {"right": float((said[:, -1] == expected[:, PROMPT]).mean())}


def train(config: TokenSeekConfig | None, folder: str) -> None:
    """Train from the same start; None is the dense step."""
    torch.manual_seed(0)
    sizes = LlamaConfig(
        vocab_size=WORDS,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=None,
    )
    model = LlamaForCausalLM(sizes)
    if config is not None:
        apply_tokenseek(model, config)
    trainer = Seq2SeqTrainer(
        model=model,
        train_dataset=task(1024, seed=1),
        eval_dataset=questions(64, seed=2),
        compute_metrics=answered,
        args=Seq2SeqTrainingArguments(
            output_dir=folder,
            max_steps=60,
            per_device_train_batch_size=16,
            learning_rate=2e-3,
            predict_with_generate=True,
            generation_max_length=PROMPT + 2,
            use_cpu=True,
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
            dataloader_pin_memory=False,
        ),
    )
    trainer.remove_callback(PrinterCallback)
    loss = trainer.train().training_loss
    right = trainer.evaluate()["eval_right"]
    sys.stdout.write(f"  loss {loss:.3f} over the run, {right:.0%} of the answers are right\n")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        for name, config in (("dense", None), ("TokenSeek", TokenSeekConfig.answers())):
            sys.stdout.write(f"{name}\n")
            train(config, scratch)
