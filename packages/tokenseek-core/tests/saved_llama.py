"""A tiny Llama with a tokenizer, saved as a folder, and records that it learns in a few steps."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

WORDS = ("say", "it", "again", "red", "green", "blue", "one", "two", "three")
SPECIAL = ("<pad>", "<unk>", "<user>", "<bot>", "<end>")
CHAT_TEMPLATE = (
    "{% for turn in messages %}"
    "{{ '<user> ' if turn.role == 'user' else '<bot> ' }}{{ turn.content }} <end> "
    "{% endfor %}{% if add_generation_prompt %}<bot> {% endif %}"
)


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """One token a word, with a chat template."""
    vocabulary = {word: number for number, word in enumerate(SPECIAL + WORDS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        unk_token="<unk>",
        eos_token="<end>",
        additional_special_tokens=["<user>", "<bot>"],
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def tiny_llama() -> LlamaForCausalLM:
    """Two blocks, always with the same weights."""
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(SPECIAL + WORDS),
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=64,
            pad_token_id=0,
            bos_token_id=None,
            eos_token_id=4,
        )
    )


def save_llama(folder: Path) -> Path:
    """Write model and tokenizer to `folder`."""
    tiny_llama().save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def answered(word: str, times: int) -> dict[str, str]:
    """One record."""
    return {"prompt": f"say {word}", "response": " ".join([word] * times)}


def save_records(path: Path, count: int = 24) -> Path:
    """Write records of several lengths: a word is to be said again and again."""
    records = [answered(WORDS[3:][number % 6], 3 + number % 3) for number in range(count)]
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path
