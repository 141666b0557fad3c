"""Whether TokenSeek can train a model, found out from its config alone."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, Literal

import torch
import transformers
from torch import nn
from transformers import (
    CONFIG_MAPPING,
    AutoModelForCausalLM,
    PreTrainedConfig,
    PreTrainedModel,
)

from tokenseek_common import InputError
from tokenseek_core._apply import apply_tokenseek
from tokenseek_core._config import TokenSeekConfig
from tokenseek_core._families import FAMILIES, family_names
from tokenseek_core.models._heads import TOKENS, head_of, small_batch
from tokenseek_core.models._shrunken import hollow_model, random_model, shrunken


@dataclass(frozen=True)
class Verdict:
    """What is to be said of a model.

    Args:
        answer: "yes" for tested families, "likely" for others that pass the self-check.
        reason: Why, in one sentence.
        notes: What to know of a tested family.
    """

    answer: Literal["yes", "likely", "no"]
    reason: str
    notes: tuple[str, ...] = ()


def unknown(model_type: str) -> Verdict | None:
    """Say no to a type that transformers has no code for."""
    if model_type in CONFIG_MAPPING:
        return None
    version = transformers.__version__
    return Verdict("no", f"transformers {version} has no model of type {model_type}")


def judge(config: PreTrainedConfig) -> Verdict:
    """Take a step on a small random model of `config`, with the self-check before it."""
    kind = config.model_type
    head = head_of(config)
    if head is None:
        return Verdict(
            "no",
            f"transformers has no model of type {kind} that is made of encoder, decoder and "
            "towers for pictures, with a head that makes a loss",
        )
    if kind in FAMILIES and FAMILIES[kind].attention is not None:
        config._attn_implementation = FAMILIES[kind].attention
    try:
        model = random_model(shrunken(config), head)
        ahead = head is AutoModelForCausalLM and _looks_ahead(model)
    except Exception as obstacle:  # any code of transformers may run here
        return _judge_hollow(config, head, obstacle)
    refusal = _ahead(model) if ahead else _refusal(model)
    if refusal is not None:
        return Verdict("no", refusal)
    return _praise(config, "passes the self-check on a small model of that config")


def _judge_hollow(config: PreTrainedConfig, head: Any, obstacle: Exception) -> Verdict:
    """Look at the modules alone, where no small model can be built and run."""
    try:
        model = hollow_model(config, head)
        apply_tokenseek(model).remove()
    except InputError as error:
        return Verdict("no", _no_attention(model) or str(error))
    except Exception as error:
        return Verdict(
            "no", f"transformers cannot build a model of that config here ({_told(error)})"
        )
    refusal = _no_attention(model) or _convolves(model)
    if refusal is not None:
        return Verdict("no", refusal)
    return _praise(
        config,
        "has the parts that are needed, but the self-check was not run, since no small model of "
        f"that config could be run ({_told(obstacle)})",
    )


def _praise(config: PreTrainedConfig, finding: str) -> Verdict:
    family = FAMILIES.get(config.model_type)
    if family is not None:
        return Verdict("yes", f"{family.name} is a tested family, and {finding}", family.notes)
    return Verdict("likely", f"{finding}; tested families are {family_names()}")


def _refusal(model: PreTrainedModel) -> str | None:
    """Why a step cannot be taken, or None where it can."""
    try:
        _take_step(model)
    except InputError as error:
        return _no_attention(model) or str(error)
    except Exception as error:
        return f"a step on a small model of that config fails ({_told(error)})"
    return None


def _no_attention(model: PreTrainedModel) -> str | None:
    if any("attention" in type(module).__name__.lower() for module in model.modules()):
        return None
    return f"model ({type(model).__name__}) has no attention; its tokens mix in other ways"


def _convolves(model: PreTrainedModel) -> str | None:
    if not any(isinstance(m, nn.Conv1d) and m.kernel_size[0] > 1 for m in model.modules()):
        return None
    return f"model ({type(model).__name__}) has convolutions, which mix tokens outside attention"


@torch.no_grad()
def _looks_ahead(model: PreTrainedModel) -> bool:
    """Whether changing the last token changes what earlier ones predict."""
    ids = torch.randint(1, model.config.vocab_size, (1, TOKENS))
    other = ids.clone()
    other[0, -1] = ids[0, -1] % (model.config.vocab_size - 1) + 1
    model.eval()
    first, second = (model(input_ids=i, use_cache=False).logits[:, :-1] for i in (ids, other))
    model.train()
    return not torch.allclose(first, second, rtol=1e-3, atol=1e-3 * float(first.abs().max()))


def _ahead(model: PreTrainedModel) -> str:
    return (
        f"model ({type(model).__name__}) lets tokens attend to later ones, as an encoder does; "
        "TokenSeek trains causal language models"
    )


def _take_step(model: PreTrainedModel) -> None:
    """Train a step on two instances."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with apply_tokenseek(model, TokenSeekConfig(ratio=0.25, dense_above=None)):
            model(**small_batch(model)).loss.backward()


def _told(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return ": ".join([type(error).__name__, *lines[:1]]).rstrip(".")
