"""Train a small Llama in TRL's SFTTrainer, densely and through a tenth of its tokens.

The model starts from random weights and reads the source of torch's own front page, packed into
rows, so the example runs anywhere: `pip install "tokenseek-core[trl]"`. With a pretrained model,
pass its name in place of `small_llama()` and leave the tokenizer out.
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, PrinterCallback
from trl import SFTConfig, SFTTrainer

from datasets import Dataset, disable_progress_bars
from tokenseek_core import TokenSeekConfig, apply_tokenseek

# TRL calls transformers by older names.
warnings.filterwarnings("ignore", message="`gradient_checkpointing", category=FutureWarning)


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """One token a byte, and one for the end."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {byte: number for number, byte in enumerate(alphabet)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", pad_token="<end>")


def small_llama() -> LlamaForCausalLM:
    """Always the same."""
    torch.manual_seed(0)
    sizes = LlamaConfig(
        vocab_size=257,
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        eos_token_id=256,
        pad_token_id=256,
    )
    return LlamaForCausalLM(sizes)


def train(config: TokenSeekConfig | None, folder: str) -> None:
    """Train from the same start; None is the dense step."""
    paragraphs = Path(torch.__file__).read_text(encoding="utf-8").split("\n\n")
    model = small_llama()
    if config is not None:
        apply_tokenseek(model, config)  # or once the trainer is made, to trainer.model
    trainer = SFTTrainer(
        model=model,
        train_dataset=Dataset.from_list([{"text": paragraph} for paragraph in paragraphs]),
        processing_class=byte_tokenizer(),
        args=SFTConfig(
            output_dir=folder,
            max_steps=20,
            logging_steps=10,
            per_device_train_batch_size=4,
            learning_rate=2e-3,
            max_length=256,
            packing=True,
            use_cpu=True,
            bf16=False,
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
            dataloader_pin_memory=False,
        ),
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    for entry in trainer.state.log_history[:-1]:
        loss, accuracy = entry["loss"], entry["mean_token_accuracy"]
        sys.stdout.write(f"  step {entry['step']}: loss {loss:.3f}, accuracy {accuracy:.3f}\n")


if __name__ == "__main__":
    disable_progress_bars()
    with tempfile.TemporaryDirectory() as scratch:
        for name, config in (("dense", None), ("TokenSeek, r = 0.1", TokenSeekConfig(ratio=0.1))):
            sys.stdout.write(f"{name}\n")
            train(config, scratch)
