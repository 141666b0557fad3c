"""A label for each word: long texts in pieces, each word judged by its first token."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from statistics import fmean
from typing import Any, NamedTuple, cast

from torch import Tensor
from transformers import (
    DataCollatorForTokenClassification,
    PreTrainedTokenizerBase,
)

from mept.training._forms import Collator, Form, Metrics, Row
from tokenseek_common import InputError
from tokenseek_common.data import (
    IGNORE_INDEX,
    TaskSample,
    accuracy,
    entity_f1,
    macro_f1,
)


class Tagged(NamedTuple):
    """The labels of the words of a text.

    Args:
        tags: As many as words.
        likelihoods: How likely each word's own is held.
        right: How likely the right one is held; empty where it is unknown.
    """

    tags: list[str]
    likelihoods: list[float]
    right: list[float]


class _Piece(NamedTuple):
    """Some words of a text that fit a model.

    Args:
        row: Their tokens.
        words: The place in the text of the word that begins at a token, -100 at others.
    """

    row: Row
    words: list[int]


class WordForm(Form):
    """A head with an output for each label, at every token.

    A word is judged by its first token. One that the tokenizer drops gets the first label.

    Args:
        tokenizer: A fast tokenizer with a padding token.
        max_length: Most tokens of a row; what does not fit goes on in another.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, *, max_length: int) -> None:
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.collator = cast(Collator, DataCollatorForTokenClassification(tokenizer))

    def train_rows(self, sample: TaskSample) -> list[Row]:
        """Each piece with the labels of its words."""
        index = {label: place for place, label in enumerate(sample.task.labels)}
        tags = [index[tag] for tag in sample.answers]
        return [
            piece.row | {"labels": [word if word < 0 else tags[word] for word in piece.words]}
            for piece in self._pieces(sample)
        ]

    def choice_rows(self, sample: TaskSample) -> list[Row]:
        """Each piece with the places of its words."""
        return [piece.row | {"labels": piece.words} for piece in self._pieces(sample)]

    def row_scores(self, model: Any, batch: dict[str, Tensor]) -> Tensor:
        """The logits of all labels at every token, [b, n, c]."""
        asked = {name: value for name, value in batch.items() if name != "labels"}
        logits: Tensor = model(**asked).logits
        return logits.float()

    def answer(self, sample: TaskSample, rows: list[Row], scores: list[Tensor]) -> Tagged:
        """The likeliest label of each word."""
        labels = sample.task.labels
        count = len(_words(sample))
        tags, likely, right = [labels[0]] * count, [0.0] * count, [0.0] * count
        for row, logits in zip(rows, scores, strict=True):
            for token, word in enumerate(row["labels"]):
                if word >= 0:
                    found = logits[token].softmax(0)
                    best = int(found.argmax())
                    tags[word], likely[word] = labels[best], float(found[best])
                    if sample.answers:
                        right[word] = float(found[labels.index(sample.answers[word])])
        return Tagged(tags, likely, right if sample.answers else [])

    def metrics(self, samples: Sequence[TaskSample], answers: Sequence[Any]) -> Metrics:
        """Accuracy of words, and F1: of entities, where labels are O, B-... and I-..., else macro.

        The score is F1 of entities, and with other labels accuracy.
        """
        task = samples[0].task
        found = [answer.tags for answer in answers]
        index = {label: place for place, label in enumerate(task.labels)}
        chosen = [index[tag] for tags in found for tag in tags]
        right = [index[tag] for sample in samples for tag in sample.answers]
        figures = {"accuracy": accuracy(chosen, right)}
        if all(label == "O" or label[:2] in ("B-", "I-") for label in task.labels):
            figures["entity_f1"] = entity_f1(found, [sample.answers for sample in samples])
            return {task.name: figures | {"score": figures["entity_f1"]}}
        figures["macro_f1"] = macro_f1(chosen, right)
        return {task.name: figures | {"score": figures["accuracy"]}}

    def certainty(self, samples: Sequence[TaskSample], answers: Sequence[Any]) -> float:
        """How likely the right label is held, averaged over words."""
        return fmean(share for answer in answers for share in answer.right)

    def told(self, sample: TaskSample, answer: Any) -> dict[str, Any]:
        """The label of each word, and how likely it is."""
        return {"prediction": answer.tags, "scores": answer.likelihoods}

    def _pieces(self, sample: TaskSample) -> Iterator[_Piece]:
        """The words of a text in as few pieces as hold them."""
        words, start = _words(sample), 0
        while start < len(words):
            count = len(words) - start
            piece = self._piece(words, start, count)
            while len(piece.words) > self.max_length:
                # Words that begin within what fits; the last may reach beyond.
                fits = sum(word >= 0 for word in piece.words[: self.max_length])
                count = min(count - 1, max(fits, 1))
                if count == 0:
                    raise InputError(
                        f"max_length ({self.max_length}) must hold each word of a "
                        f"{sample.task.name} sample ({len(piece.words)} tokens); raise it"
                    )
                piece = self._piece(words, start, count)
            yield piece
            start += count

    def _piece(self, words: Sequence[str], start: int, count: int) -> _Piece:
        """So many words, and the tokens that they begin at."""
        own = words[start : start + count]
        encoded = self.tokenizer(
            " ".join(own), return_offsets_mapping=True, split_special_tokens=True, verbose=False
        )
        spans = encoded.pop("offset_mapping")
        lengths = [1 + len(word) for word in own]  # with the space behind it
        starts = [0, *accumulate(lengths[:-1])]
        places, begun = [], set()
        for first, last in spans:  # empty for special tokens
            word = bisect_right(starts, last - 1) - 1
            begins = last > first and word not in begun
            places.append(start + word if begins else IGNORE_INDEX)
            begun |= {word} if begins else set()
        names = ("input_ids", "token_type_ids")
        return _Piece({name: list(encoded[name]) for name in names if name in encoded}, places)


def _words(sample: TaskSample) -> list[str]:
    return sample.texts[sample.task.fields[0]].split()
