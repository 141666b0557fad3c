"""Where a causal language model keeps its parts: backbone, last block, head."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPastAndCrossAttentions

from tokenseek_common import InputError


@dataclass(frozen=True)
class Anatomy:
    """The parts of `model` that a step touches.

    Args:
        model: The Hugging Face model that owns the head.
        outer: What TokenSeek was applied to: the model, or PEFT's or DDP's wrapper of it.
        forward: Its forward as it was before TokenSeek.
        backbone: Embeddings, blocks and final norm.
        last_block: The block whose input the gradient score looks at.
    """

    model: PreTrainedModel
    outer: nn.Module
    forward: Callable[..., Any]
    backbone: nn.Module
    last_block: nn.Module

    @classmethod
    def of(cls, model: PreTrainedModel, outer: nn.Module) -> Anatomy:
        """Find the parts of `model`.

        Raises:
            InputError: The model has no backbone with a list of as many blocks as its config says.
        """
        name = type(model).__name__
        backbone = model.base_model
        if backbone is model or model.get_output_embeddings() is None:
            raise InputError(
                f"model ({name}) must have a language-model head on a backbone; "
                "load it with AutoModelForCausalLM"
            )
        depth = model.config.num_hidden_layers
        lists = [m for m in backbone.modules() if isinstance(m, nn.ModuleList) and len(m) == depth]
        if len(lists) != 1:
            raise InputError(
                f"model ({name}) must have one list of {depth} blocks, but has {len(lists)}; "
                "TokenSeek trains decoders such as Llama, Qwen, Mistral and GPT-2"
            )
        return cls(model, outer, model.forward, backbone, lists[0][-1])

    def head(self, hidden: Float[Tensor, "b m d"]) -> Float[Tensor, "b m v"]:
        """Send rows of final hidden states through the model's own head, scaling and caps."""

        def stand_in(*args: Any, **kwargs: Any) -> BaseModelOutputWithPastAndCrossAttentions:
            return BaseModelOutputWithPastAndCrossAttentions(last_hidden_state=hidden)

        with replaced(self.backbone, "forward", stand_in):
            logits: Tensor = self.forward(inputs_embeds=hidden, use_cache=False).logits
        return logits

    def pull_back(self, output: Tensor, input: Tensor, adjoint: Tensor) -> Tensor:
        """The adjoint of `input` for an `adjoint` of `output`; no parameter gets a gradient."""
        (pulled,) = torch.autograd.grad(output, input, adjoint)
        # FSDP2 takes the end of any backward for the end of the step and frees its outer weights,
        # which the rest of this step needs.
        for module in (self.outer, self.model):
            if isinstance(module, FSDPModule):
                module.unshard()
        return pulled

    @property
    def checkpointed(self) -> list[nn.Module]:
        """Modules that checkpoint now."""
        return [m for m in self.model.modules() if getattr(m, "gradient_checkpointing", False)]


@contextmanager
def replaced(owner: object, name: str, value: object) -> Iterator[None]:
    """Shadow an attribute of one object while a block runs."""
    missing = object()
    before = vars(owner).get(name, missing)
    vars(owner)[name] = value
    try:
        yield
    finally:
        if before is missing:
            del vars(owner)[name]
        else:
            vars(owner)[name] = before
