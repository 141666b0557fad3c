"""The arguments of one training call, sorted by what a step does with them.

Shapes: `b` batch, `s` sequence.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import torch
from jaxtyping import Bool, Int, Shaped
from torch import Tensor

from tokenseek_common import InputError
from tokenseek_core._arguments import BOUNDARIES, LOSSES, ROWWISE, require_shapes, without_refused
from tokenseek_core._counts import Counts
from tokenseek_core._loss import IGNORE_INDEX, shift_labels
from tokenseek_core._sequences import Sequences, read_instances

ShiftRight = Callable[[Int[Tensor, "b s"]], Int[Tensor, "b s"]]
"""Makes the tokens of a decoder of its labels."""


@dataclass(frozen=True)
class Source:
    """The tokens that an encoder reads, in front of a decoder.

    Args:
        valid: Those that are not padding, [b, n].
        lengths: Their number in each instance, which the host must know.
    """

    valid: Bool[Tensor, "b n"]
    lengths: tuple[int, ...]


@dataclass(frozen=True)
class Batch:
    """The arguments of one training call, sorted by what they are.

    Args:
        rowwise: Arguments with a row for each token.
        attention_mask: As the model was given it.
        labels: As the model was given them, [b, s].
        targets: Target of each row; -100 has none, [b, s].
        valid: Tokens that are not padding, [b, s]; with a mask of four axes, those that some row
            may attend to.
        counts: What the host must know of the values.
        num_items: Supervised tokens of the whole optimizer step, where the trainer knows them.
        options: Everything else, passed on unchanged.
        bounded: Whether some attention functions would cut its rows into sequences.
        read: The row of each instance that is always kept where its label belongs to the whole of
            it, since a head that pools one row reads it, [b, s]; None of a model whose rows have
            losses of their own.
        source: What an encoder reads, in front of a decoder.
        sequences: The instances, where rows hold several that do not see each other.
    """

    rowwise: Mapping[str, Tensor]
    attention_mask: Tensor | None
    labels: Int[Tensor, "b s"]
    targets: Int[Tensor, "b s"]
    valid: Bool[Tensor, "b s"]
    counts: Counts
    num_items: Tensor | int | None
    options: Mapping[str, Any]
    bounded: bool = False
    read: Bool[Tensor, "b s"] | None = None
    source: Source | None = None
    sequences: Sequences | None = None

    @classmethod
    def of(
        cls, arguments: Mapping[str, Any], *, shifted: bool = True, by_token: bool = True
    ) -> Batch:
        """Sort the arguments of a forward call.

        Args:
            arguments: What the model is called with.
            shifted: Whether the target of a row is the next token's label, and not its own.
            by_token: Whether kept tokens are all that a replay is given; then other tensors, which
                might belong to all of them, have no place.

        Raises:
            InputError: An argument asks for what a step over some rows cannot give.
        """
        given = without_refused(arguments)
        boundaries = [given.pop(name) for name in BOUNDARIES if name in given]
        labels = given.pop("labels")
        targets = given.pop("shift_labels", None)
        mask = given.pop("attention_mask", None)
        rowwise = {name: given.pop(name) for name in ROWWISE if name in given}
        if not rowwise.keys() & {"input_ids", "inputs_embeds"}:
            raise InputError("input_ids (None) must be given with labels; pass the tokens")
        require_shapes(rowwise, mask, labels, targets)
        if "position_ids" in rowwise:
            rowwise["position_ids"] = rowwise["position_ids"].expand_as(labels)
        num_items = given.pop("num_items_in_batch", None)
        for name, value in given.items():
            if by_token and isinstance(value, Tensor):
                raise InputError(
                    f"{name} must be unset in a TokenSeek step; "
                    f"of tensors it takes {', '.join(ROWWISE)}, attention_mask and labels"
                )
        valid = torch.ones_like(labels, dtype=torch.bool)
        if mask is not None:
            valid = mask.bool() if mask.ndim == 2 else _seen(mask).expand_as(labels)
        if targets is None:
            targets = shift_labels(labels) if shifted else labels
        positions = rowwise.get("position_ids")
        counts, sequences = read_instances(valid, targets != IGNORE_INDEX, positions)
        bounded = bool(boundaries) or sequences is not None
        if mask is not None:  # which alone says what a token sees
            sequences = None
        if not any(counts.lengths):
            raise InputError(
                f"attention_mask, labels ({list(labels.shape)}) must hold at least one token that "
                "is not padding; leave empty batches out"
            )
        return cls(
            rowwise=rowwise,
            attention_mask=mask,
            labels=labels,
            targets=targets,
            valid=valid,
            counts=counts,
            num_items=num_items,
            options=given,
            bounded=bounded,
            sequences=sequences,
        )

    @classmethod
    def seq2seq(
        cls, arguments: Mapping[str, Any], shape: tuple[int, int], shift: ShiftRight
    ) -> Batch:
        """Sort the arguments of a decoder behind an encoder; the tokens are those of the decoder.

        Args:
            arguments: What the model is called with.
            shape: Instances and rows of them that the encoder's blocks see.
            shift: Makes the decoder's tokens of the labels, where none are given.

        Raises:
            InputError: An argument asks for what a step over some rows cannot give.
        """
        given = without_refused(arguments)
        labels = given.pop("labels")
        num_items = given.pop("num_items_in_batch", None)
        if not given.keys() & {"decoder_input_ids", "decoder_inputs_embeds"}:
            given["decoder_input_ids"] = shift(labels)
        tokens = next(
            given[n] for n in ("decoder_input_ids", "decoder_inputs_embeds") if n in given
        )
        if labels.shape != tokens.shape[:2]:
            raise InputError(
                f"labels ({list(labels.shape)}) must have shape [b, s], here "
                f"{list(tokens.shape[:2])}; give one entry for each token of the decoder"
            )
        supervised = labels != IGNORE_INDEX
        valid = given.get("decoder_attention_mask")
        if valid is None:  # behind the last label stands padding
            valid = supervised.flip(1).cumsum(1).flip(1) > 0
        mask = given.pop("attention_mask", None)
        read = torch.ones(shape, dtype=torch.bool, device=labels.device)
        if mask is not None and mask.shape == read.shape:  # sounds have one of another length
            read = mask.bool()
        return cls(
            rowwise={},
            attention_mask=mask,
            labels=labels,
            targets=labels,
            valid=valid.bool(),
            counts=Counts.read(valid.bool(), supervised),
            num_items=num_items,
            options=given,
            source=Source(read, Counts.read(read, read).lengths),
        )

    @classmethod
    def whole(
        cls,
        arguments: Mapping[str, Any],
        shape: tuple[int, int],
        reads: Literal["first", "last"],
    ) -> Batch:
        """Sort the arguments of a model that makes its loss of all rows at once.

        All of them are given to both passes. A row has a target where a label is its own, or where
        a span that is to be found begins or ends.

        Args:
            arguments: What the model is called with.
            shape: Instances and rows of them that its blocks see.
            reads: The row that is kept always where a label belongs to a whole instance.

        Raises:
            InputError: An argument asks for what a step over some rows cannot give.
        """
        given = without_refused(arguments)
        mask = given.pop("attention_mask", None)
        device = next(value.device for value in given.values() if isinstance(value, Tensor))
        valid = torch.ones(shape, dtype=torch.bool, device=device)
        if mask is not None and mask.numel() == valid.numel():  # of several choices, too
            valid = mask.reshape(shape).bool()
        labels = _labels_of_rows(given, shape, device)
        slots = torch.arange(shape[1], device=device).expand(shape)
        if labels is None:
            last = slots.masked_fill(~valid, 0).amax(1, keepdim=True)
            read = slots == (last if reads == "last" else 0)
            labels = torch.full(shape, IGNORE_INDEX, device=device)
        else:
            read = torch.zeros_like(valid)
        valid = valid | read
        return cls(
            rowwise={},
            attention_mask=mask,
            labels=labels,
            targets=labels,
            valid=valid,
            counts=Counts.read(valid, labels != IGNORE_INDEX),
            num_items=None,
            options=given,
            read=read,
        )

    def arguments(self, mask: Tensor | None) -> dict[str, Any]:
        """What a pass over all rows is called with.

        Args:
            mask: The attention mask, or what stands for it.
        """
        given = {} if mask is None else {"attention_mask": mask}
        return {**self.rowwise, **self.options, **given}

    def positioned(self, made: Tensor | None) -> Mapping[str, Tensor]:
        """The rowwise arguments with position ids, which a model cannot make from some rows.

        Args:
            made: Those that the model made of the whole batch where it was given none; None, or
                positions of several axes, stand for slots.
        """
        if "position_ids" in self.rowwise:
            return self.rowwise
        slots = torch.arange(self.labels.shape[1], device=self.labels.device)
        positions = slots if made is None or made.ndim > 2 else made.to(slots.device)
        return {**self.rowwise, "position_ids": positions.expand_as(self.labels)}

    def first(self) -> Batch:
        """The first instance alone."""
        rowwise = {name: rows[:1] for name, rows in self.rowwise.items()}
        valid, supervised = self.valid[:1], self.supervised[:1]
        positions = None if self.sequences is None else rowwise["position_ids"]
        counts, sequences = read_instances(valid, supervised, positions)
        return replace(
            self,
            rowwise=rowwise,
            attention_mask=None if self.attention_mask is None else self.attention_mask[:1],
            labels=self.labels[:1],
            targets=self.targets[:1],
            valid=valid,
            counts=counts,
            sequences=sequences,
        )

    def to(self, device: torch.device) -> Batch:
        """The same batch elsewhere: a model on several devices ends on another than it begins."""
        if self.labels.device == device:
            return self
        return replace(
            self,
            rowwise={name: rows.to(device) for name, rows in self.rowwise.items()},
            attention_mask=None if self.attention_mask is None else self.attention_mask.to(device),
            labels=self.labels.to(device),
            targets=self.targets.to(device),
            valid=self.valid.to(device),
            read=None if self.read is None else self.read.to(device),
            source=self.source and replace(self.source, valid=self.source.valid.to(device)),
            sequences=self.sequences and self.sequences.to(device),
        )

    def require_known_sequences(self, backend: str) -> None:
        """Refuse packed sequences where the attention function finds their ends by itself.

        Raises:
            InputError: FlashAttention would cut the rows at positions that begin again, which the
                record does not show.
        """
        if self.bounded and "flash" in backend:
            raise InputError(
                "position_ids (several sequences in a row) must count one sequence with "
                'FlashAttention; load the model with attn_implementation="sdpa"'
            )

    @property
    def trainable(self) -> bool:
        """Whether the gradient of embeddings from outside is asked for."""
        return any(argument.requires_grad for argument in self.rowwise.values())

    @cached_property
    def supervised(self) -> Bool[Tensor, "b s"]:
        """Rows that have a target."""
        return self.targets != IGNORE_INDEX

    @property
    def instances(self) -> Counts:
        """What the host must know of each instance: of a row, or of each sequence in it."""
        return self.counts if self.sequences is None else self.sequences.counts

    def apart(self) -> Batch:
        """Its tokens with each sequence in a row of its own, for whoever chooses among them."""
        assert self.sequences is not None
        return Batch(
            rowwise={},
            attention_mask=None,
            labels=self.sequences.apart(self.labels),
            targets=self.sequences.apart(self.targets),
            valid=self.sequences.valid,
            counts=self.sequences.counts,
            num_items=self.num_items,
            options={},
        )


def _labels_of_rows(
    given: Mapping[str, Any], shape: tuple[int, int], device: torch.device
) -> Int[Tensor, "b s"] | None:
    """Labels that belong to single rows; None where those given belong to whole instances."""
    own = given.get("labels")
    if own is not None and own.shape == shape and not own.is_floating_point():
        labels: Tensor = own
        return labels
    spans = [given[name] for name in LOSSES[1:] if name in given]
    if not spans:
        return None
    slots = torch.stack([span.flatten() for span in spans], dim=1).clamp(0, shape[1] - 1)
    return torch.full(shape, IGNORE_INDEX, device=device).scatter(1, slots, 1)


def _seen(mask: Shaped[Tensor, "b h s s"]) -> Bool[Tensor, "b s"]:
    """Tokens that some row may attend to: what no row may, not even its own, is padding."""
    allowed = mask if mask.dtype == torch.bool else mask > torch.finfo(mask.dtype).min / 2
    return allowed.flatten(1, 2).any(1)
