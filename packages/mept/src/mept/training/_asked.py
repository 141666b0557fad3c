"""How a model is asked: what suits it, and what the user wants of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedConfig

from mept._families import FAMILIES, positions_of
from mept.training._classification import output_count
from mept.training._forms import FormName
from tokenseek_common import InputError
from tokenseek_common.data import Task

_USUAL_LENGTH = 256


@dataclass(frozen=True)
class Asked:
    """How a model is asked, as it is saved beside an adapter.

    Args:
        form: As a class, or in words.
        tasks: What a head is for, in the order of its outputs.
        max_length: Most tokens of an input.
        prefixed: Whether a classifier reads the name of the task too.
        model_type: What the model is, by transformers' name.
    """

    form: FormName
    tasks: tuple[Task, ...]
    max_length: int
    prefixed: bool
    model_type: str

    @property
    def output_count(self) -> int:
        """How many outputs its head has; none where it writes."""
        return output_count(self.tasks) if self.form == "classification" else 0

    @classmethod
    def choose(
        cls,
        config: PreTrainedConfig,
        tasks: Sequence[Task],
        *,
        form: FormName | None,
        max_length: int | None,
        rows: int,
    ) -> Asked:
        """Settle how a model is asked.

        Args:
            config: The model's.
            tasks: What it is to answer.
            form: What the user wants; None is what suits the model.
            max_length: The same, of the length; None is 256, or all positions if there are fewer.
            rows: Prompt rows, which take positions where positions are rotary.

        Raises:
            InputError: The model cannot be asked so.
        """
        kind = config.model_type
        family = FAMILIES.get(kind)
        if family is None:
            raise InputError(
                f"model ({kind}) must be of {', '.join(FAMILIES)}; choose another --model"
            )
        own: FormName = "classification" if family.kind == "embedded" else "text-to-text"
        chosen = form or own
        if chosen != own and family.kind != "decoder":
            raise InputError(
                f"form ({chosen}) must be {own} for a model of type {kind}; leave out --form"
            )
        positions = positions_of(config) - (rows if family.shifts else 0)
        if positions < 1:
            raise InputError(
                f"num_virtual_tokens ({rows}) must be below {positions + rows}, the positions that "
                "the model has for prompt rows and tokens; choose another --num-virtual-tokens"
            )
        if max_length is not None and max_length > positions:
            raise InputError(
                f"max_length ({max_length}) must be at most {positions}, the positions that the "
                "model has for tokens; choose another --max-length"
            )
        length = min(_USUAL_LENGTH, positions) if max_length is None else max_length
        prefixed = len(tasks) > 1 or family.kind == "decoder"
        return cls(chosen, tuple(tasks), length, prefixed, kind)
