"""An answer marked in a text, from first to last token; long texts in overlapping pieces."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import fmean
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from transformers import DataCollatorWithPadding, PreTrainedTokenizerBase

from mept.training._forms import Collator, Form, Metrics, Row
from tokenseek_common import InputError
from tokenseek_common.data import TaskSample, answer_exact_match, answer_f1

MOST_TOKENS = 30
"""The longest answer that is looked for, as in SQuAD's usual evaluation."""


class Marked(NamedTuple):
    """A span of the context.

    Args:
        text: What it says.
        start: Its first character.
        likelihood: How likely it is held, among all spans of all pieces.
        right: How likely the right answers are held together.
    """

    text: str
    start: int
    likelihood: float
    right: float


class _Piece(NamedTuple):
    """The question with a part of the context.

    Args:
        row: Their tokens.
        spans: From and to which character of the context each token goes; None of others.
    """

    row: Row
    spans: list[tuple[int, int] | None]


class SpanForm(Form):
    """A head that marks where the answer begins and ends.

    A piece of a long context that lacks the answer points at its first token.

    Args:
        tokenizer: A fast tokenizer with a padding token.
        max_length: Most tokens of a row; pieces overlap by half of what the question leaves them.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, *, max_length: int) -> None:
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.collator = cast(Collator, DataCollatorWithPadding(tokenizer))

    def train_rows(self, sample: TaskSample) -> list[Row]:
        """Each piece with the tokens that its answer begins and ends at."""
        found = []
        for piece in self._pieces(sample):
            start = sample.starts[0]
            first, last = _marked(piece, start, start + len(sample.answers[0]))
            found.append(piece.row | {"start_positions": first, "end_positions": last})
        return found

    def choice_rows(self, sample: TaskSample) -> list[Row]:
        """Each piece."""
        return [piece.row for piece in self._pieces(sample)]

    def row_scores(self, model: Any, batch: dict[str, Tensor]) -> Tensor:
        """The logits of a beginning and of an end at every token, [b, n, 2]."""
        asked = {name: v for name, v in batch.items() if not name.endswith("_positions")}
        found = model(**asked)
        return torch.stack([found.start_logits, found.end_logits], dim=-1).float()

    def answer(self, sample: TaskSample, rows: list[Row], scores: list[Tensor]) -> Marked:
        """The likeliest span."""
        context, sums, spans = sample.texts["context"], [], []
        for piece, logits in zip(self._pieces(sample), scores, strict=True):
            own = [place for place, span in enumerate(piece.spans) if span is not None]
            if not own:
                continue
            firsts, lasts = logits[own].unbind(-1)  # the tokens of the context, [n]
            allowed = torch.ones(len(own), len(own), dtype=torch.bool).triu().tril(MOST_TOKENS - 1)
            sums.append((firsts[:, None] + lasts[None])[allowed])
            spans += [
                (cast("tuple[int, int]", piece.spans[own[i]])[0], _end(piece, own[j]))
                for i, j in allowed.nonzero().tolist()
            ]
        if not sums:  # the tokenizer makes nothing of the context
            return Marked("", 0, 0.0, 0.0)
        likely = torch.cat(sums).softmax(0)
        best = int(likely.argmax())
        wanted = set(sample.answers)
        right = sum(
            float(share)
            for share, (start, end) in zip(likely, spans, strict=True)
            if context[start:end] in wanted
        )
        start, end = spans[best]
        return Marked(context[start:end], start, float(likely[best]), min(right, 1.0))

    def metrics(self, samples: Sequence[TaskSample], answers: Sequence[Any]) -> Metrics:
        """F1 of words and the share of exact matches, of the closest right answer; their mean.

        Source: Rajpurkar et al., "SQuAD", 2016, https://arxiv.org/abs/1606.05250, section 6.1.
        """
        pairs = [
            (found.text, sample.answers) for sample, found in zip(samples, answers, strict=True)
        ]
        figures = {
            "f1": fmean(answer_f1(*pair) for pair in pairs),
            "exact_match": fmean(answer_exact_match(*pair) for pair in pairs),
        }
        return {samples[0].task.name: figures | {"score": fmean(figures.values())}}

    def certainty(self, samples: Sequence[TaskSample], answers: Sequence[Any]) -> float:
        """How likely the right answers are held, averaged over samples."""
        return fmean(answer.right for answer in answers)

    def told(self, sample: TaskSample, answer: Any) -> dict[str, Any]:
        """The span, where it begins, and how likely it is."""
        return {"prediction": answer.text, "start": answer.start, "score": answer.likelihood}

    def _pieces(self, sample: TaskSample) -> Iterator[_Piece]:
        """The question with each part of the context."""
        question, context = sample.texts["question"], sample.texts["context"]
        asked = self.tokenizer(
            question, add_special_tokens=False, split_special_tokens=True, verbose=False
        )
        marks = self.tokenizer.num_special_tokens_to_add(pair=True)
        room = self.max_length - marks - len(asked["input_ids"])
        if room < 2 or not context.strip():
            raise InputError(
                f"max_length ({self.max_length}) must hold the question of a {sample.task.name} "
                f"sample and two tokens of its context ({self.max_length - room + 2} tokens); "
                "raise it, or remove rows with an empty context"
            )
        encoded = self.tokenizer(
            question,
            context,
            truncation="only_second",
            max_length=self.max_length,
            stride=room // 2,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
            split_special_tokens=True,
            verbose=False,
        )
        names = [name for name in ("input_ids", "token_type_ids") if name in encoded]
        for place, spans in enumerate(encoded["offset_mapping"]):
            texts = encoded.sequence_ids(place)
            own = [
                tuple(span) if text == 1 and span[1] > span[0] else None
                for span, text in zip(spans, texts, strict=True)
            ]
            yield _Piece({name: list(encoded[name][place]) for name in names}, own)


def _end(piece: _Piece, token: int) -> int:
    return cast("tuple[int, int]", piece.spans[token])[1]


def _marked(piece: _Piece, start: int, end: int) -> tuple[int, int]:
    """The first and the last token of a span; twice the first of all where the piece lacks it."""
    own = [(place, span) for place, span in enumerate(piece.spans) if span is not None]
    touched = [place for place, (first, last) in own if first < end and last > start]
    whole = bool(touched) and own[0][1][0] <= start and own[-1][1][1] >= end
    return (touched[0], touched[-1]) if whole else (0, 0)
