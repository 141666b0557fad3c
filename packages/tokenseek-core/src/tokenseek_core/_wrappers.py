"""The model inside what others put around it."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch._dynamo import OptimizedModule
from torch.nn.parallel import DistributedDataParallel
from transformers import PreTrainedModel

from tokenseek_common import InputError
from tokenseek_core._requirements import require_applicable


def unwrap(model: nn.Module) -> PreTrainedModel:
    """The Hugging Face model inside PEFT, DDP, torch.compile and Lightning's Fabric.

    Raises:
        InputError: There is none, or it is inside something else.
    """
    inner: Any = model
    while not isinstance(inner, PreTrainedModel):
        if isinstance(inner, DistributedDataParallel):
            inner = inner.module
        elif isinstance(inner, OptimizedModule):
            inner = inner._orig_mod
        elif "_forward_module" in vars(inner)["_modules"]:
            inner = inner._forward_module
        elif hasattr(type(inner), "get_base_model"):  # of the class: wrappers pass instances' on
            require_applicable(inner)
            inner = inner.get_base_model()
        else:
            raise InputError(
                f"model ({type(inner).__name__}) must be a transformers model, also inside PEFT, "
                "DistributedDataParallel, torch.compile or Lightning's Fabric; pass that, and "
                "shard it by FSDP2"
            )
    return inner
