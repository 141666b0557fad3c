"""The models that can be tuned, by transformers' `model_type`, and where their parts lie."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from tokenseek_common import InputError

_ENDLESS = 1 << 20

READERS = ("ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering")
"""Ends of class names whose heads read a text and predict none of its tokens."""


@dataclass(frozen=True)
class Family:
    """A tested family.

    Args:
        kind: "decoder"; "encoder", which builds its masks of embeddings that can be given; or
            "embedded", an encoder whose embeddings are a module of their own.
        blocks: Where the list of blocks lies in the stack.
        down: Where the projection lies in a block that takes the units of its feed-forward back to
            the hidden size: what goes into it are their activations.
        stack: Where the stack lies in the base model.
        shifts: Whether the positions of tokens are moved behind the prompt rows. Positions that
            are learned, one by one, are not: the token at n_positions - 1 would have none left, and
            all others would get vectors that they were not trained with. Rotary ones are moved, so
            that prompt rows are further in the past than every token, as in the paper's models.
        relative: Whether positions are distances that no argument can change.
        skips_padding: Whether learned positions are counted from the first real token on, where the
            caller gives none.
        pre_norm: Whether blocks normalise their input, prompt rows too.
    """

    kind: Literal["decoder", "encoder", "embedded"]
    blocks: str
    down: str
    stack: str = ""
    shifts: bool = False
    relative: bool = False
    skips_padding: bool = False
    pre_norm: bool = True


_ROTARY = Family("decoder", "layers", "mlp.down_proj", shifts=True)
_BERT = Family("embedded", "encoder.layer", "output.dense", pre_norm=False)

FAMILIES: dict[str, Family] = {
    "llama": _ROTARY,
    "qwen2": _ROTARY,
    "qwen3": _ROTARY,
    "mistral": _ROTARY,
    "gemma2": _ROTARY,
    "gemma3_text": _ROTARY,
    "phi3": _ROTARY,
    "gpt_neox": Family("decoder", "layers", "mlp.dense_4h_to_h", shifts=True),
    "gpt2": Family("decoder", "h", "mlp.c_proj"),
    "opt": Family("decoder", "layers", "fc2", stack="decoder", skips_padding=True),
    "t5": Family("encoder", "block", "layer.1.DenseReluDense.wo", stack="encoder", relative=True),
    "bart": Family("encoder", "layers", "fc2", stack="encoder", pre_norm=False),
    "bert": _BERT,
    "roberta": _BERT,
}


def family_of(model: nn.Module) -> Family:
    """Name the family of a model.

    Raises:
        InputError: It is none of those that are tested, or a variant that cannot work.
    """
    name = type(model).__name__
    if not isinstance(model, PreTrainedModel):
        raise InputError(
            f"model ({name}) must be a PreTrainedModel of transformers; load it by from_pretrained"
        )
    config = model.config
    if config.model_type not in FAMILIES:
        raise InputError(
            f"model_type ({config.model_type}) must be one of {', '.join(FAMILIES)}: these are "
            "held to a slow reference, others are not, and in recurrent and state-space layers "
            "prompt rows would stay for good; use a model of these families"
        )
    family = FAMILIES[config.model_type]
    if family.kind == "embedded" and config.is_decoder:
        raise InputError(
            f"is_decoder (True) must be False for {config.model_type}, as an encoder; "
            "load the model without it"
        )
    if family.stack and not hasattr(model.base_model, family.stack):
        raise InputError(
            f"model ({name}) must have an encoder, whose layers get the prompts; "
            "load the whole model"
        )
    if getattr(config, "word_embed_proj_dim", config.hidden_size) != config.hidden_size:
        raise InputError(
            f"word_embed_proj_dim ({config.word_embed_proj_dim}) must be hidden_size "
            f"({config.hidden_size}), embeddings that are projected have no place for prompt rows; "
            "choose another model"
        )
    for name in ("encoder_layerdrop", "layerdrop"):
        if getattr(config, name, 0.0):
            raise InputError(
                f"{name} ({getattr(config, name)}) must be 0, a skipped layer would leave its "
                "prompts out; set it in the model's config"
            )
    return family


def stack_of(model: PreTrainedModel, family: Family) -> PreTrainedModel:
    """The part of a model whose blocks get the prompts."""
    stack = model.base_model.get_submodule(family.stack)
    assert isinstance(stack, PreTrainedModel)
    return stack


def blocks_of(stack: nn.Module, family: Family) -> list[nn.Module]:
    """The blocks of a stack, in order."""
    return list(stack.get_submodule(family.blocks).children())


def block_names(model: PreTrainedModel, family: Family) -> list[str]:
    """What the blocks are called in the whole model."""
    stack = stack_of(model, family)
    path = next(name for name, module in model.named_modules() if module is stack)
    prefix = f"{path}.{family.blocks}" if path else family.blocks
    return [f"{prefix}.{index}" for index in range(len(blocks_of(stack, family)))]


def reads_only(model: nn.Module) -> bool:
    """Say whether a model's head predicts no token of the text that it reads."""
    return any(kind.__name__.endswith(READERS) for kind in type(model).__mro__)


def window_of(model: PreTrainedModel) -> int | None:
    """The width of the sliding window of a model, if one of its layers has one."""
    config = model.config
    window: int | None = getattr(config, "sliding_window", None)
    kinds = getattr(config, "layer_types", None)
    if kinds is not None and "sliding_attention" not in kinds:
        return None
    return window


def positions_of(config: PreTrainedConfig) -> int:
    """How many positions a model has for tokens; T5 has no end of them."""
    names = ("max_position_embeddings", "n_positions")
    found = next((getattr(config, name) for name in names if hasattr(config, name)), None)
    if found is None or config.model_type == "t5":
        return _ENDLESS
    # RoBERTa counts from behind its padding token.
    return int(found) - (config.pad_token_id + 1 if config.model_type == "roberta" else 0)
