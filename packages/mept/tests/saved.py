"""Tiny models with a tokenizer, saved as folders, and samples that they learn in a few steps."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    PreTrainedTokenizerFast,
)

from tiny import DECODERS, SEQ2SEQ
from tiny_models import VOCABULARY, tiny_config

GLAD, SAD = ("sun", "song", "feast"), ("rain", "grief", "mud")
FILLERS = ("the", "a", "old", "day", "of", "and")
LABELS = ("glad", "sad")
WORDS = (
    *("<pad>", "<start>", "</s>", "<unk>"),  # the ids that tiny models have for them
    *(*GLAD, *SAD, *FILLERS, *LABELS, ":", "text", "mood", "weather"),
    *(
        "record",
        "query",
        "entities",
        "passage",
        ".",
        ",",
        "Ann",
        "Bob",
        "Cy",
        "met",
        "@placeholder",
    ),
    *("multirc", "question", "answer", "paragraph", "True", "False"),
)


def tiny_tokenizer(family: str) -> PreTrainedTokenizerFast:
    """One token a word; the special tokens around a text are those of the family's kind."""
    tokenizer = Tokenizer(
        models.WordLevel({word: place for place, word in enumerate(WORDS)}, unk_token="<unk>")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    names = ["input_ids", "attention_mask"]
    if family in SEQ2SEQ:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="$A </s>", special_tokens=[("</s>", 2)]
        )
    elif family not in DECODERS:
        tokenizer.post_processor = processors.BertProcessing(("</s>", 2), ("<start>", 1))
        names.append("token_type_ids")
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        unk_token="<unk>",
        eos_token="</s>",
        model_input_names=names,
    )


def save_tiny(folder: Path, family: str, **settings: Any) -> Path:
    """Write a tiny model and its tokenizer to a folder."""
    assert len(WORDS) <= VOCABULARY
    torch.manual_seed(0)
    auto: Any = AutoModel
    if family in DECODERS:
        auto = AutoModelForCausalLM
    elif family in SEQ2SEQ:
        auto = AutoModelForSeq2SeqLM
    model = auto.from_config(tiny_config(family, **settings))
    for parameter in model.parameters():  # so that a text shows in what comes out
        parameter.data.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(folder)
    tiny_tokenizer(family).save_pretrained(folder)
    return folder


def mood_rows(count: int, seed: int = 0) -> list[dict[str, str]]:
    """Texts with words that tell their label."""
    draw = random.Random(seed)
    rows = []
    for place in range(count):
        label = LABELS[place % 2]
        words = draw.choices(FILLERS, k=draw.randint(1, 4))
        words += draw.choices(GLAD if label == "glad" else SAD, k=3)
        draw.shuffle(words)
        rows.append({"text": " ".join(words), "label": label})
    return rows


def save_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Write rows to a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def save_minilm(folder: Path) -> Path:
    """A folder with a package as the wheel of MiniLM has it, around a tiny BERT."""
    from zipfile import ZipFile

    model = save_tiny(folder / "model", "bert")
    package = folder / "packages" / "all_minilm_l6_v2"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('it is not to be imported')\n")
    with ZipFile(package / "model.zip", "w") as archive:
        for file in model.iterdir():
            archive.write(file, file.name)
    return package.parent
