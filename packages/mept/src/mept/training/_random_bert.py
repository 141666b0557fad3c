"""A tiny BERT of random weights with a tokenizer of its own, both made at run time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_WORD_PIECES = 2000
_NORMALIZER = normalizers.BertNormalizer()
_WORDS = pre_tokenizers.BertPreTokenizer()


def save_random_bert(folder: Path, texts: Iterable[str], *, seed: int) -> None:
    """Write it to a folder that `from_pretrained` opens.

    Args:
        folder: Where it goes.
        texts: What the tokenizer takes its words from.
        seed: Decides the weights.
    """
    tokenizer = _tokenizer(texts)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=128,
            intermediate_size=256,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=256,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            initializer_range=0.1,  # at the usual 0.02 so narrow a model hardly sees its input
        )
        BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.WordPiece(_vocabulary(texts), unk_token="[UNK]"))
    tokenizer.normalizer = _NORMALIZER
    tokenizer.pre_tokenizer = _WORDS
    end, start = ((name, _SPECIAL.index(name)) for name in ("[SEP]", "[CLS]"))
    tokenizer.post_processor = processors.BertProcessing(end, start)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


def _vocabulary(texts: Iterable[str]) -> dict[str, int]:
    """All characters, at the start of a word and inside it, and the most frequent words.

    Counted here: a trainer of `tokenizers` numbers characters in the order of a table in memory,
    and so breaks ties otherwise in every process.
    """
    words = Counter(
        word
        for text in texts
        for word, _ in _WORDS.pre_tokenize_str(_NORMALIZER.normalize_str(text))
    )
    characters = sorted(set().union(*words))
    pieces = [*_SPECIAL, *characters, *(f"##{character}" for character in characters)]
    frequent = [word for word, _ in words.most_common() if len(word) > 1]
    pieces += frequent[: _WORD_PIECES - len(pieces)]
    return {piece: place for place, piece in enumerate(pieces)}
