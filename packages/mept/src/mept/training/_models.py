"""The model that a command line names, with the head that a form needs."""

from __future__ import annotations

import io
from contextlib import nullcontext, redirect_stderr
from dataclasses import dataclass
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from mept._families import FAMILIES
from mept.training._asked import Asked
from mept.training._classification import ClassificationForm
from mept.training._forms import Form
from mept.training._heads import HEAD_MODULES, HEADS
from mept.training._model_places import MINILM, ModelPlace, model_place
from mept.training._regression import RegressionForm
from mept.training._spans import SpanForm
from mept.training._text_to_text import CausalForm, Seq2SeqForm
from mept.training._words import WordForm
from tokenseek_common import InputError

_SPACE = "▁"  # a tokenizer of T5 knows it from the start


@dataclass(frozen=True)
class Base:
    """A model without prompts, and how it is asked.

    Args:
        model: It, with the head that its form needs.
        form: How it is asked and read.
        tokenizer: Its tokenizer, with a padding token.
        unsaved: Modules that no checkpoint filled: they must be trained, and saved with prompts.
        task_type: What PEFT calls what it is asked.
    """

    model: PreTrainedModel
    form: Form
    tokenizer: PreTrainedTokenizerBase
    unsaved: list[str]
    task_type: str


def load_base(source: str, asked: Asked, *, device: torch.device, dtype: torch.dtype) -> Base:
    """Load a model with its head and its tokenizer.

    Args:
        source: "minilm", "smollm2", a folder that `save_pretrained` wrote, or an id on the hub.
        asked: What the head is for.
        device: Where the model goes.
        dtype: Its floating type.

    Raises:
        InputError: There is no such model, it has no such head or no tokenizer, or it is of another
            type than the one that was to be asked so.
    """
    with model_place(source) as place:
        config = _config(source, place)
        if config.model_type != asked.model_type:
            raise InputError(
                f"model ({source}, of type {config.model_type}) must be of type "
                f"{asked.model_type}, as the one that the adapter was trained on; "
                "choose another --model"
            )
        try:
            tokenizer = AutoTokenizer.from_pretrained(
                place.name, trust_remote_code=False, **place.settings
            )
            with redirect_stderr(io.StringIO()) if place.settings else nullcontext():  # its bar
                model, loaded = head_class(asked).from_pretrained(
                    place.name,
                    dtype=dtype,
                    **place.settings,
                    output_loading_info=True,
                    trust_remote_code=False,
                    **_head_settings(asked),
                )
        except (OSError, ValueError, SafetensorError) as error:
            raise _unreadable(source, error) from error
    if set(tokenizer.get_vocab()) <= {*tokenizer.all_special_tokens, _SPACE}:
        # What transformers makes up where a folder holds none.
        raise InputError(
            f"model ({source}) must have a tokenizer that knows more than special tokens; put the "
            "files of its tokenizer beside its weights"
        )
    if tokenizer.pad_token_id is None:
        if tokenizer.eos_token_id is None:
            raise InputError(
                f"model ({source}) must have a tokenizer with a padding token; give it one"
            )
        tokenizer.pad_token = tokenizer.eos_token
    if place.settings:  # weights of GGUF, which are plain now, and said to be quantised still
        del model.config.quantization_config
        for name in ("is_quantized", "hf_quantizer", "quantization_method"):
            vars(model).pop(name, None)
    tokenizer.padding_side = "right"  # a decoder's positions are counted from the left
    model.config.pad_token_id = tokenizer.pad_token_id  # where classifiers find the last token
    missing = {*loaded["missing_keys"], *(name for name, *_ in loaded["mismatched_keys"])}
    form = _form(asked, tokenizer, model)
    kind = _task_type(asked, model)
    return Base(_moved(model, device), form, tokenizer, _unsaved(missing), kind)


def load_config(source: str) -> PreTrainedConfig:
    """Read the config of a model.

    Raises:
        InputError: There is none that transformers can read.
    """
    with model_place(source) as place:
        return _config(source, place)


def _config(source: str, place: ModelPlace) -> PreTrainedConfig:
    try:
        config: PreTrainedConfig = AutoConfig.from_pretrained(
            place.name, trust_remote_code=False, **place.settings
        )
    except (OSError, ValueError) as error:
        raise _unreadable(source, error) from error
    return config


def head_class(asked: Asked) -> Any:
    """The class of transformers that opens a model with the head that it is asked through."""
    if asked.form in HEADS:
        return HEADS[asked.form].model_class
    is_decoder = FAMILIES[asked.model_type].kind == "decoder"
    return AutoModelForCausalLM if is_decoder else AutoModelForSeq2SeqLM


def _head_settings(asked: Asked) -> dict[str, Any]:
    if not asked.output_count:
        return {}
    # A head of another width is a head for other labels, and begins anew.
    settings = {"num_labels": asked.output_count, "ignore_mismatched_sizes": True}
    return settings | ({"problem_type": "regression"} if asked.form == "regression" else {})


def _form(asked: Asked, tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel) -> Form:
    length = asked.max_length
    match asked.form:
        case "classification":
            return ClassificationForm(
                tokenizer, asked.tasks, max_length=length, prefixed=asked.prefixed
            )
        case "regression":
            return RegressionForm(tokenizer, max_length=length, prefixed=asked.prefixed)
        case "token-classification":
            return WordForm(tokenizer, max_length=length)
        case "question-answering":
            return SpanForm(tokenizer, max_length=length)
        case "text-to-text":
            kind = Seq2SeqForm if model.config.is_encoder_decoder else CausalForm
            return kind(tokenizer, max_length=length)


def _task_type(asked: Asked, model: PreTrainedModel) -> str:
    if asked.form in HEADS:
        return HEADS[asked.form].task_type
    return "SEQ_2_SEQ_LM" if model.config.is_encoder_decoder else "CAUSAL_LM"


def _unsaved(missing: set[str]) -> list[str]:
    """The modules of missing weights, but the heads, of which PEFT knows."""
    modules = {name.rpartition(".")[0] for name in missing}
    return sorted(name for name in modules if name.partition(".")[0] not in HEAD_MODULES)


def _moved(model: PreTrainedModel, device: torch.device) -> PreTrainedModel:
    # transformers wraps `to` in a way that hides its signature.
    return nn.Module.to(model, device)


def _unreadable(source: str, error: Exception) -> InputError:
    reason = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return InputError(
        f"model ({source}) must be one that transformers can load with that head "
        f"({reason.rstrip('.:')}); give a folder, a hub id or {MINILM}"
    )
