"""Where a transformer keeps its parts: backbone, blocks, head."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge
from torch.distributed.fsdp import FSDPModule
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPastAndCrossAttentions

from tokenseek_common import InputError
from tokenseek_core._batch import LOSSES
from tokenseek_core._families import FAMILIES, family_names

Kind = Literal["causal", "masked", "whole"]
"""How a model makes its loss: of each token, which foretells the next; of each token, in whose own
place something is to be foretold; or of all tokens at once, in a way that is the model's secret."""


@dataclass(frozen=True)
class Anatomy:
    """The parts of `model` that a step touches.

    Args:
        model: The Hugging Face model that owns the head.
        outer: What TokenSeek was applied to: the model, or PEFT's or DDP's wrapper of it.
        forward: Its forward as it was before TokenSeek.
        backbone: Embeddings, blocks and final norm.
        blocks: The blocks in their order.
        kind: How the model makes its loss.
        by_token: Whether a replay is given the kept tokens and their positions. Else it is given
            all of them, and the blocks take the kept rows of what comes to them.
    """

    model: PreTrainedModel
    outer: nn.Module
    forward: Callable[..., Any]
    backbone: nn.Module
    blocks: nn.ModuleList
    kind: Kind = "causal"
    by_token: bool = True

    @classmethod
    def of(cls, model: PreTrainedModel, outer: nn.Module) -> Anatomy:
        """Find the parts of `model`.

        Raises:
            InputError: Rows of it cannot be replayed.
        """
        name = type(model).__name__
        if getattr(model.config, "is_encoder_decoder", False):
            raise InputError(
                f"model ({name}) must be an encoder or a decoder, not both; "
                "train it without TokenSeek"
            )
        kind = kind_of(model)
        taken = inspect.signature(model.forward).parameters
        if kind == "whole" and not taken.keys() & {*LOSSES}:
            raise InputError(
                f"model ({name}) must have a language-model head, or another that makes a loss; "
                "load it with AutoModelForCausalLM or another class for a task"
            )
        # OPT's head asks for the decoder inside its base model.
        backbone = model.get_decoder() if kind == "causal" else model.base_model
        by_token = kind == "causal" and not has_several_parts(model.config)
        if by_token and "position_ids" not in taken:
            raise InputError(
                f"model ({name}) must take position_ids, which tell the place of a replayed row; "
                "train it without TokenSeek"
            )
        layerdrop = getattr(model.config, "layerdrop", 0.0)
        if layerdrop:
            raise InputError(
                f"layerdrop ({layerdrop}) must be 0, both passes need the same layers; "
                "load the model with layerdrop=0.0"
            )
        blocks = find_blocks(backbone, model)
        if backbone is model:  # what is called inside the model's own forward
            backbone = owner_of(blocks, model)
        return cls(model, outer, model.forward, backbone, blocks, kind, by_token)

    @property
    def reads(self) -> Literal["first", "last"]:
        """The row that a head which pools one row reads, by what others of its family do."""
        family = FAMILIES.get(self.model.config.model_type)
        if family is not None:
            return family.reads
        return "last" if self._causal else "first"

    @property
    def _causal(self) -> bool:
        """Whether the first attention that says so looks at the past alone."""
        said = (getattr(module, "is_causal", None) for module in self.blocks[0].modules())
        return next((causal for causal in said if causal is not None), False)

    @cached_property
    def inside(self) -> frozenset[nn.Module]:
        """The modules of the blocks; what attends outside of them runs all rows in both passes."""
        return frozenset(module for block in self.blocks for module in block.modules())

    def head(self, hidden: Float[Tensor, "b m d"]) -> Float[Tensor, "b m v"]:
        """Send rows of final hidden states through the model's own head, scaling and caps.

        Raises:
            InputError: The model's forward makes no logits.
        """
        # With its hooks: adapters would put rows of theirs in front of a backbone's input.
        with replaced(self.backbone, "_call_impl", StandIn(hidden)):
            logits: Tensor | None = self.forward(inputs_embeds=hidden, use_cache=False).logits
        if logits is None:
            raise InputError(
                f"model ({type(self.model).__name__}) must return logits where it is given no "
                "labels; take off what computes its loss without them"
            )
        return logits

    def pull_back(
        self, output: Tensor | GradientEdge, input: Tensor, adjoint: Tensor, *, retain: bool = False
    ) -> Tensor:
        """The adjoint of `input` for an `adjoint` of `output`; no parameter gets a gradient.

        Args:
            output: Where the graph ends.
            input: Where it begins.
            adjoint: The gradient by `output`.
            retain: Whether the graph is needed again.
        """
        (pulled,) = torch.autograd.grad(output, input, adjoint, retain_graph=retain)
        # FSDP2 takes the end of any backward for the end of the step and frees its outer weights,
        # which the rest of this step needs.
        for module in (self.outer, self.model):
            if isinstance(module, FSDPModule):
                module.unshard()
        return pulled

    @property
    def uncached(self) -> dict[str, bool]:
        """The argument that keeps the model from caching keys and values, if it would."""
        config = self.model.config.get_text_config(decoder=True)
        return {"use_cache": False} if hasattr(config, "use_cache") else {}

    @property
    def head_parameters(self) -> list[nn.Parameter]:
        """Trainable parameters that the logits are made with; a tied one is the backbone's too."""
        base = self.model.base_model  # with what stands before a backbone of several parts
        inside = {*self.backbone.parameters(), *(() if base is self.model else base.parameters())}
        outside = [p for p in self.model.parameters() if p not in inside]
        projection = self.model.get_output_embeddings()
        own = [] if projection is None else list(projection.parameters())
        return [p for p in dict.fromkeys([*outside, *own]) if p.requires_grad]

    @property
    def checkpointed(self) -> list[nn.Module]:
        """Modules that checkpoint now."""
        return [m for m in self.model.modules() if getattr(m, "gradient_checkpointing", False)]


def kind_of(model: PreTrainedModel) -> Kind:
    """How `model` makes its loss, by its head and by what transformers calls its class."""
    names = [base.__name__ for base in type(model).__mro__]  # FSDP2 makes a class of its own
    if any(name.endswith("ForMaskedLM") for name in names):
        return "masked"
    several = any(name.endswith("ForPreTraining") for name in names)  # a loss of two parts
    return "whole" if several or model.get_output_embeddings() is None else "causal"


def has_several_parts(config: PreTrainedConfig) -> bool:
    """Whether a model has more than a text decoder: an encoder, or towers for other inputs."""
    try:
        nested = config.get_text_config() is not config
    except ValueError:  # several parts for text
        return True
    return nested or bool(getattr(config, "is_encoder_decoder", False))


def find_blocks(backbone: nn.Module, model: PreTrainedModel) -> nn.ModuleList:
    """The list of blocks: as long as the config says, and inside no other such list.

    Raises:
        InputError: There is none, or there are several.
    """
    own = getattr(backbone, "config", model.config)  # a part's, where the model has several
    depth = getattr(own, "num_hidden_layers", None)
    if depth is None:
        depth = getattr(getattr(own, "vision_config", None), "num_hidden_layers", 0)
    lists = {
        name: module
        for name, module in backbone.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == depth
    }
    # A block may hold as many experts as the model has blocks.
    outermost = [
        module for name, module in lists.items() if not any(name.startswith(f"{o}.") for o in lists)
    ]
    if len(outermost) != 1:
        raise InputError(
            f"model ({type(model).__name__}) must have one list of {depth} blocks, but has "
            f"{len(outermost)}; models known to have it are {family_names()}"
        )
    return outermost[0]


def owner_of(blocks: nn.ModuleList, model: nn.Module) -> nn.Module:
    """The part of `model` that holds the list of its blocks."""
    name = next(name for name, module in model.named_modules() if module is blocks)
    return model.get_submodule(name.rpartition(".")[0])


def wrapped_block(block: nn.Module) -> nn.Module:
    """The block of the model inside what an adapter of peft put around it, if one did."""
    inner = getattr(block, "base_layer", block)
    assert isinstance(inner, nn.Module)
    return inner


@dataclass
class FinalStates(BaseModelOutputWithPastAndCrossAttentions):
    """What a backbone gives, with every name that some head asks for."""

    router_logits: tuple[Tensor, ...] | None = None


@dataclass(frozen=True)
class StandIn:
    """Takes the place of a call of a backbone, and gives the hidden states that are there."""

    hidden: Float[Tensor, "b m d"]

    def __call__(self, *args: Any, **kwargs: Any) -> FinalStates:
        """Ignore whatever the backbone is given."""
        return FinalStates(last_hidden_state=self.hidden)


def apply(function: type[torch.autograd.Function], *args: object) -> Tensor:
    """Call an autograd function; torch leaves its `apply` without types."""
    output: Tensor = function.apply(*args)
    return output


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
