"""What a model must be: when TokenSeek is applied to it, and again at every step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn
from torch._dynamo import OptimizedModule
from torch.distributed.fsdp import FSDPModule
from transformers.loss.loss_utils import ForCausalLMLoss, ForMaskedLMLoss

from tokenseek_common import InputError
from tokenseek_core._anatomy import Anatomy, Kind
from tokenseek_core._attention import PREFIX
from tokenseek_core._forwards import leads_to

SHARDED = {"ds_id": "DeepSpeed ZeRO-3", "_fsdp_flattened": "FullyShardedDataParallel"}
"""Marks that parameters carry, and who took them apart: passes over parts of a model, and a
backward pass in the middle of a step, are not what these expect."""

NOT_TOKENWISE = (
    *("ADAPTION_PROMPT", "ALORA", "CARTRIDGE", "CPT", "PREFIX_TUNING", "SHADOW", "XLORA"),
)
"""Methods of peft that look at a token's neighbours, add keys, or compute the loss themselves."""


EXPECTED: dict[Kind, Callable[..., Any]] = {"causal": ForCausalLMLoss, "masked": ForMaskedLMLoss}
"""The loss that a step makes in the model's place; where the head reads all rows, it makes none."""


def require_applicable(model: nn.Module) -> None:
    """Refuse parameters in parts, and what a pass over some rows would not compute alike.

    Args:
        model: A Hugging Face model or PEFT's wrapper of one.

    Raises:
        InputError: It has such parameters, adapters or compiled parts, or is a part itself.
    """
    name = type(model).__name__
    for parameter in model.parameters():
        for mark, owner in SHARDED.items():
            if hasattr(parameter, mark):
                raise InputError(
                    f"model ({name}) must not be sharded by {owner}; "
                    "shard it by FSDP2 (fully_shard), or its optimizer alone by ZeRO-2"
                )
    parts = getattr(model, "tp_size", None) or 1
    if parts > 1:  # of the heads each process has its own: scores, and with seeds draws, differ
        raise InputError(
            f"tp_size ({parts}) must be 1, processes with parts of a model would keep different "
            "tokens; load it without tp_plan, and shard it by FSDP2 (fully_shard)"
        )
    for path, module in model.named_modules():
        hook = getattr(module, "_hf_hook", None)
        if any(getattr(part, "offload", False) for part in (hook, *getattr(hook, "hooks", ()))):
            raise InputError(
                f"device_map ({path} offloaded) must leave every weight on a device, one that is "
                "brought for a forward alone gets no gradient; load the model on devices alone"
            )
        # The whole model may be compiled, a step leaves that at its first call.
        if path and (isinstance(module, OptimizedModule) or module._compiled_call_impl is not None):
            raise InputError(
                f"{path} must not be compiled by itself, its steps have no fixed rows; "
                "compile the whole model, or leave it uncompiled"
            )
    adapters: dict[str, Any] = getattr(model, "peft_config", {})
    for config in adapters.values():
        invoked = getattr(config, "alora_invocation_tokens", None)
        kind = "ALORA" if invoked else str(getattr(config.peft_type, "value", config.peft_type))
        if kind in NOT_TOKENWISE:
            raise InputError(
                f"peft_type ({kind}) must adapt each token by itself and leave keys, values and "
                "loss to the model; use LoRA or prompt tuning"
            )


def require_steppable(anatomy: Anatomy, *, trainable_input: bool) -> None:
    """Refuse a model that cannot be trained, or not as it would be without TokenSeek.

    Args:
        anatomy: The model's parts.
        trainable_input: Whether the gradient of embeddings from outside is asked for.

    Raises:
        InputError: Something was changed since TokenSeek was applied, or replaces loss or input.
    """
    model = anatomy.model
    require_applicable(model)
    implementation = str(model.config._attn_implementation)
    if not implementation.startswith(PREFIX):
        raise InputError(
            f"attn_implementation ({implementation}) must not change while TokenSeek is applied; "
            "call handle.remove(), change it, and apply TokenSeek again"
        )
    shards = any(isinstance(module, FSDPModule) for module in model.modules())
    if shards and any(hasattr(module, "compute_bias") for module in anatomy.inside):
        raise InputError(
            f"model ({type(model).__name__.removeprefix('FSDP')}) must not be sharded by FSDP2, "
            "its relative bias is asked for between its blocks; train it under "
            "DistributedDataParallel"
        )
    expected = EXPECTED.get(anatomy.kind)
    if expected is not None and model.loss_function is not expected:
        raise InputError(
            f"loss_function ({_name(model.loss_function)}) must be transformers' "
            f"{_name(expected)}, the one that restarts on the kept rows; leave it as it was"
        )
    noise = getattr(anatomy.embedding, "neftune_noise_alpha", None)
    if noise is not None:
        raise InputError(
            f"neftune_noise_alpha ({noise}) must be unset, both passes need the same embeddings; "
            "leave it out"
        )
    if not trainable_input and not any(p.requires_grad for p in model.parameters()):
        raise InputError(
            f"model ({type(model).__name__}) must have a parameter that requires grad; "
            "unfreeze one, or call the model under torch.no_grad()"
        )


def require_reachable(forward: Callable[..., Any] | None, ours: Callable[..., Any]) -> None:
    """Refuse a model whose forward was replaced by one that no longer leads to ours.

    Args:
        forward: What the model calls now; None is its class's own.
        ours: What TokenSeek put there.

    Raises:
        InputError: `forward` is neither `ours` nor, as wrappers say by `__wrapped__`, around it.
    """
    if not leads_to(forward, ours):
        raise InputError(
            f"forward ({_name(forward)}) must not replace TokenSeek's, as Liger kernels and "
            "unwrapped models do; apply TokenSeek after that"
        )


def _name(function: Callable[..., Any] | None) -> str:
    return str(getattr(function, "__qualname__", function))
