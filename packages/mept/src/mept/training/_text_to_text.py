"""Answers as text: the choices ranked by their likelihood, or whatever the model writes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, cast

from torch import Tensor
from transformers import DataCollatorForSeq2Seq, PreTrainedTokenizerBase

from mept._families import positions_of
from mept._scope import before_labels
from mept.training._choices import ChoiceForm
from mept.training._forms import Advance, Collator, Row, batches, device_of, scoring
from mept.training._likelihood import log_likelihood
from tokenseek_common import InputError
from tokenseek_common.data import (
    IGNORE_INDEX,
    PaddingCollator,
    TaskSample,
    Tokenizer,
    encode_causal,
    encode_prompt,
    encode_seq2seq,
)

_SPARE = 4  # tokens that may be written beyond the longest choice


class TextToTextForm(ChoiceForm):
    """A model that writes its answers.

    Args:
        tokenizer: A fast tokenizer with a padding token.
        max_length: Most tokens of an input; of a decoder, with its answer.

    Attributes:
        asked: Makes batches of what generation begins with.
    """

    asked: Collator

    def __init__(self, tokenizer: PreTrainedTokenizerBase, *, max_length: int) -> None:
        self.pretrained = tokenizer
        self.tokenizer = cast(Tokenizer, tokenizer)
        self.max_length = max_length

    def train_rows(self, sample: TaskSample) -> list[Row]:
        """The input and the right answer."""
        return [self.row(sample)]

    def choice_rows(self, sample: TaskSample) -> list[Row]:
        """The input with each choice."""
        return [self.row(sample, choice) for choice in sample.choices]

    def choice_scores(self, sample: TaskSample, scores: Tensor) -> Tensor:
        """The log-likelihoods of the choices, which are the rows."""
        return scores

    def write(
        self,
        model: Any,
        samples: Sequence[TaskSample],
        *,
        batch_size: int,
        advance: Advance | None = None,
    ) -> list[str]:
        """Let the model write an answer to every sample, token by token the likeliest.

        Args:
            model: A model with prompts.
            samples: What is asked; the routers see that alone.
            batch_size: Samples that go through the model at a time.
            advance: Told after each batch how many samples it had.

        Returns:
            What was written, without special tokens.
        """
        rows = [self.asked_row(sample) for sample in samples]
        most = [self._width(sample) + _SPARE for sample in samples]
        return self.written(model, rows, most, batch_size=batch_size, advance=advance)

    def written(
        self,
        model: Any,
        rows: Sequence[Row],
        most: Sequence[int],
        *,
        batch_size: int,
        advance: Advance | None = None,
        **settings: Any,
    ) -> list[str]:
        """Let the model write on from rows, of `asked_row` or `text_row`.

        Args:
            model: A model with prompts.
            rows: What it is given.
            most: Tokens that it may write, for each row.
            batch_size: Rows that go through the model at a time.
            advance: Told after each batch how many rows it had.
            settings: Of `generate`, in place of writing the likeliest token.

        Returns:
            What was written, without special tokens.
        """
        texts = [""] * len(rows)
        pad = self.pretrained.pad_token_id
        with scoring(model):
            for places, batch in batches(rows, self.asked, batch_size, device_of(model)):
                longest = max(most[place] for place in places)
                columns = self.prompt_columns(batch)
                room = positions_of(model.config) - columns  # learned positions end, with an error
                found = model.generate(
                    input_ids=batch["input_ids"],
                    attention_mask=batch["attention_mask"],
                    max_new_tokens=min(longest, room),
                    pad_token_id=pad,
                    **GREEDY | settings,
                )
                said = self.pretrained.batch_decode(found[:, columns:], skip_special_tokens=True)
                for place, text in zip(places, said, strict=True):
                    texts[place] = text.strip()
                if advance is not None:
                    advance(len(places))
        return texts

    def text_row(self, text: str) -> Row:
        """What generation begins with where a text is given as it is.

        Raises:
            InputError: It has no token, or more than an input may have.
        """
        tokens = self.pretrained(text)["input_ids"]
        if not 0 < len(tokens) <= self.max_length:
            raise InputError(
                f"prompt ({len(tokens)} tokens) must have from 1 to {self.max_length} tokens; "
                "change the text"
            )
        return {"input_ids": tokens, "labels": [IGNORE_INDEX] * len(tokens)}

    def _width(self, sample: TaskSample) -> int:
        """Tokens of the longest choice."""
        return max(len(self.pretrained(choice)["input_ids"]) for choice in sample.choices)

    @abstractmethod
    def row(self, sample: TaskSample, target: str | None = None) -> Row:
        """The input with an answer, by default the right one."""

    @abstractmethod
    def asked_row(self, sample: TaskSample) -> Row:
        """What generation begins with."""

    @abstractmethod
    def prompt_columns(self, batch: dict[str, Tensor]) -> int:
        """How many columns of what generation returns are not new."""


GREEDY: dict[str, Any] = {
    "do_sample": False,
    "num_beams": 1,
    "temperature": None,  # a model's own settings for sampling, of which transformers would warn
    "top_p": None,
    "top_k": None,
}


class CausalForm(TextToTextForm):
    """Decoders: input, a space, the answer."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, *, max_length: int) -> None:
        super().__init__(tokenizer, max_length=max_length)
        pad = tokenizer.pad_token_id
        self.collator = cast(Collator, PaddingCollator(pad))
        self.asked = cast(Collator, PaddingCollator(pad, padding_side="left"))

    def row(self, sample: TaskSample, target: str | None = None) -> Row:
        """The input, masked, and the answer."""
        limit = self.max_length
        example = encode_causal(sample, self.tokenizer, max_length=limit, target=target)
        return {"input_ids": example.input_ids, "labels": example.labels}

    def asked_row(self, sample: TaskSample) -> Row:
        """The input alone."""
        prompt = encode_prompt(sample, self.tokenizer, max_length=self.max_length)
        return {"input_ids": prompt, "labels": [IGNORE_INDEX] * len(prompt)}

    def prompt_columns(self, batch: dict[str, Tensor]) -> int:
        """All of the input, which is padded on the left."""
        return batch["input_ids"].shape[1]

    def row_scores(self, model: Any, batch: dict[str, Tensor]) -> Tensor:
        """The log-likelihood of the answers, [b]; routers see what is before them."""
        labels, mask = batch["labels"], batch["attention_mask"]
        scope = before_labels(mask.bool(), labels)
        # Not the labels themselves: the model would compute a loss of them too.
        output = model(input_ids=batch["input_ids"], attention_mask=mask, routing_mask=scope)
        return log_likelihood(output.logits[:, :-1], labels[:, 1:])


class Seq2SeqForm(TextToTextForm):
    """Encoder-decoders: the encoder reads the input, the decoder writes the answer."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, *, max_length: int) -> None:
        super().__init__(tokenizer, max_length=max_length)
        self.collator = cast(Collator, DataCollatorForSeq2Seq(tokenizer))
        self.asked = self.collator

    def row(self, sample: TaskSample, target: str | None = None) -> Row:
        """The tokens of both."""
        limit = self.max_length
        example = encode_seq2seq(sample, self.tokenizer, max_length=limit, target=target)
        return {"input_ids": example.input_ids, "labels": example.labels}

    def asked_row(self, sample: TaskSample) -> Row:
        """The input; the answer beside it goes nowhere."""
        return self.row(sample)

    def prompt_columns(self, batch: dict[str, Tensor]) -> int:
        """None: the decoder writes its own beginning, a special token."""
        return 0

    def row_scores(self, model: Any, batch: dict[str, Tensor]) -> Tensor:
        """The log-likelihood of the answers, [b]; routers are in the encoder, which has none."""
        return log_likelihood(model(**batch).logits, batch["labels"])
