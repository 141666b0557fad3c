"""One text as TokenSeek sees it: every token with its score, and whether it was kept."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tokenseek_common.data import IGNORE_INDEX, PaddingCollator
from tokenseek_core._apply import apply_tokenseek
from tokenseek_core._config import TokenSeekConfig
from tokenseek_core._pieces import text_pieces
from tokenseek_core.demo._material import Lesson


@dataclass(frozen=True)
class Token:
    """One token of a text.

    Args:
        text: What it adds to the text; nothing if its letter is completed by the next token.
        supervised: Whether it belongs to the answer, which is to be learnt.
        score: Its importance; only the order means something.
        kept: Whether it carries gradient.
    """

    text: str
    supervised: bool
    score: float
    kept: bool


@dataclass(frozen=True)
class Passage:
    """A scored text.

    Args:
        asked: The instruction in it.
        tokens: All of it.
        supervised_share: Share of the kept tokens that predict a token of the answer.
    """

    asked: str
    tokens: tuple[Token, ...]
    supervised_share: float

    @property
    def kept(self) -> int:
        """How many tokens carry gradient."""
        return sum(token.kept for token in self.tokens)


def seek(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    lesson: Lesson,
    collator: PaddingCollator,
    config: TokenSeekConfig,
) -> Passage:
    """Score one lesson in a training step, whose gradient is thrown away.

    Args:
        model: A model without TokenSeek applied.
        tokenizer: Its own.
        lesson: The text.
        collator: Makes tensors of it.
        config: TokenSeek's settings, of a ratio at which it does not train densely.

    Returns:
        The scored text.
    """
    batch = {name: tensor.to(model.device) for name, tensor in collator([lesson.example]).items()}
    model.train()
    with apply_tokenseek(model, config) as handle, torch.enable_grad():
        model(**batch, use_cache=False)
    assert handle.last is not None
    kept = set(handle.last.indices[0][handle.last.active[0]].tolist())
    scores = handle.last.scores[0].tolist()
    pieces = text_pieces(lesson.example.input_ids, tokenizer)
    tokens = [
        Token(piece, label != IGNORE_INDEX, score, position in kept)
        for position, (piece, label, score) in enumerate(
            zip(pieces, lesson.example.labels, scores, strict=True)
        )
    ]
    return Passage(lesson.asked, tuple(tokens), handle.last.supervised_share.item())
