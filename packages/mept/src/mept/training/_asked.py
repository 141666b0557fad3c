"""How a model is asked: what suits it, and what the user wants of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedConfig

from mept._families import FAMILIES, positions_of
from mept.training._forms import FormName
from mept.training._heads import HEADS, check_tasks
from tokenseek_common import InputError
from tokenseek_common.data import Task

_USUAL_LENGTH = 256

_FORMS: dict[str, tuple[FormName, ...]] = {
    "embedded": ("classification", "regression", "token-classification", "question-answering"),
    "decoder": ("text-to-text", "classification", "regression"),
    "encoder": ("text-to-text",),
}
"""How models of each kind can be asked, the usual way first."""


@dataclass(frozen=True)
class Asked:
    """How a model is asked, as it is saved beside an adapter.

    Args:
        form: As a class, in words, or by another head.
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
        head = HEADS.get(self.form)
        return 0 if head is None else head.outputs(self.tasks)

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
        allowed = _FORMS[family.kind]
        chosen = form or allowed[0]
        if chosen not in allowed:
            raise InputError(
                f"form ({chosen}) must be {' or '.join(allowed)} for a model of type {kind}; "
                "choose another --form, or leave it out"
            )
        check_tasks(chosen, tasks)
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
