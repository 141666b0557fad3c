"""Where a transformer keeps its parts: backbone, blocks, head."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge
from torch.distributed.fsdp import FSDPModule
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import (
    BaseModelOutput,
    BaseModelOutputWithPastAndCrossAttentions,
)

from tokenseek_common import InputError
from tokenseek_core._arguments import LOSSES
from tokenseek_core._families import FAMILIES, family_names

Kind = Literal["causal", "masked", "seq2seq", "whole"]
"""How a model makes its loss: of each token, which foretells the next; of each token, in whose own
place something is to be foretold, in an encoder or in a decoder behind one; or of all tokens at
once, in a way that is the model's secret."""


@dataclass(frozen=True)
class Anatomy:
    """The parts of `model` that a step touches.

    Args:
        model: The Hugging Face model that owns the head.
        outer: What TokenSeek was applied to: the model, or PEFT's or DDP's wrapper of it.
        forward: Its forward as it was before TokenSeek.
        backbone: Embeddings, blocks and final norm; of two stacks, the decoder.
        blocks: The blocks in their order.
        encoder: The stack in front of a decoder.
        encoder_blocks: Its blocks.
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
    encoder: nn.Module | None = None
    encoder_blocks: nn.ModuleList | None = None

    @classmethod
    def of(cls, model: PreTrainedModel, outer: nn.Module) -> Anatomy:
        """Find the parts of `model`.

        Raises:
            InputError: Rows of it cannot be replayed.
        """
        name = type(model).__name__
        kind = kind_of(model)
        taken = inspect.signature(model.forward).parameters
        if kind == "whole" and not taken.keys() & {*LOSSES}:
            raise InputError(
                f"model ({name}) must have a language-model head, or another that makes a loss; "
                "load it with AutoModelForCausalLM or another class for a task"
            )
        # OPT's head asks for the decoder inside its base model.
        decodes = kind in ("causal", "seq2seq")
        backbone = model.get_decoder() if decodes else model.base_model
        by_token = kind == "causal" and not has_several_parts(model.config)
        if by_token and "position_ids" not in taken:
            raise InputError(
                f"model ({name}) must take position_ids, which tell the place of a replayed row; "
                "train it without TokenSeek"
            )
        for drop in ("layerdrop", "encoder_layerdrop", "decoder_layerdrop"):
            share = getattr(model.config, drop, 0.0)
            if share:
                raise InputError(
                    f"{drop} ({share}) must be 0, both passes need the same layers; "
                    f"load the model with {drop}=0.0"
                )
        if kind == "seq2seq":
            encoder, config = model.get_encoder(), model.config
            depth = getattr(config, "num_decoder_layers", getattr(config, "decoder_layers", 0))
            blocks = find_blocks(backbone, model, depth)
            of_encoder = find_blocks(encoder, model, config.num_hidden_layers)
            parts = (encoder, of_encoder)
            return cls(model, outer, model.forward, backbone, blocks, kind, by_token, *parts)
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
    def counts_items(self) -> bool:
        """Whether the model's own loss is divided by what a trainer says of its whole step.

        Some models compute a mean over their batch instead, whatever they are told.
        """
        own = inspect.unwrap(type(self.model).forward)
        return self.kind == "causal" or "loss_function" in own.__code__.co_names

    @cached_property
    def inside(self) -> frozenset[nn.Module]:
        """The modules of all blocks; what attends elsewhere runs all rows in both passes."""
        blocks = [*self.blocks, *(self.encoder_blocks or ())]
        return frozenset(module for block in blocks for module in block.modules())

    def shift_right(self, labels: Int[Tensor, "b s"]) -> Int[Tensor, "b s"]:
        """The tokens that the decoder behind an encoder is given with these labels."""
        shift = getattr(self.model, "prepare_decoder_input_ids_from_labels", None)
        if shift is None:  # Whisper's is a function beside the model
            config = self.model.config
            shift = functools.partial(
                sys.modules[type(self.model).__module__].shift_tokens_right,
                pad_token_id=config.pad_token_id,
                decoder_start_token_id=config.decoder_start_token_id,
            )
        tokens: Tensor = shift(labels)
        return tokens

    def head(self, hidden: Float[Tensor, "b m d"]) -> Float[Tensor, "b m v"]:
        """Send rows of final hidden states through the model's own head, scaling and caps.

        Raises:
            InputError: The model's forward makes no logits.
        """
        given: dict[str, Any] = {"inputs_embeds": hidden}
        if self.encoder is not None:
            read = BaseModelOutput(last_hidden_state=hidden)
            given = {"decoder_inputs_embeds": hidden, "encoder_outputs": read}
        # With its hooks: adapters would put rows of theirs in front of a backbone's input.
        with replaced(self.backbone, "_call_impl", StandIn(hidden)):
            logits: Tensor | None = self.forward(**given, use_cache=False).logits
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
        (pulled,) = self.pull_back_to((input,), output, adjoint, retain=retain)
        return pulled

    def pull_back_to(
        self,
        inputs: Sequence[Tensor],
        output: Tensor | GradientEdge,
        adjoint: Tensor,
        *,
        retain: bool = False,
    ) -> tuple[Tensor, ...]:
        """The adjoints of several `inputs`, see :meth:`pull_back`."""
        pulled = torch.autograd.grad(output, inputs, adjoint, retain_graph=retain)
        # FSDP2 takes the end of any backward for the end of the step and frees its outer weights,
        # which the rest of this step needs.
        for module in (self.outer, self.model):
            if isinstance(module, FSDPModule):
                module.unshard()
        return pulled

    @property
    def embedding(self) -> nn.Module | None:
        """What makes hidden states of tokens; towers that name none have none."""
        try:
            found: nn.Module = self.model.get_input_embeddings()
        except NotImplementedError:
            return None
        return found

    @property
    def uncached(self) -> dict[str, bool]:
        """The argument that keeps the model from caching keys and values, if it would."""
        config = self.model.config.get_text_config(decoder=True)
        return {"use_cache": False} if hasattr(config, "use_cache") else {}

    @property
    def head_parameters(self) -> list[nn.Parameter]:
        """Trainable parameters that the logits are made with; a tied one is the backbone's too."""
        base = self.model.base_model  # with what stands before a backbone of several parts
        parts = [self.backbone, self.encoder, base]  # with what stands before a backbone
        inside = {p for part in parts if part not in (None, self.model) for p in part.parameters()}
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
    if getattr(model.config, "is_encoder_decoder", False):
        if model.get_output_embeddings() is None or model.get_decoder() is model:
            raise InputError(
                f"model ({names[0]}) must have a language-model head on its decoder; load it with "
                "AutoModelForSeq2SeqLM, or train it without TokenSeek"
            )
        return "seq2seq"
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


def depth_of(backbone: nn.Module, model: PreTrainedModel) -> int:
    """How many blocks the config says that a stack has."""
    own = getattr(backbone, "config", model.config)  # a part's, where the model has several
    depth: int | None = getattr(own, "num_hidden_layers", None)
    if depth is not None:
        return depth
    return getattr(getattr(own, "vision_config", None), "num_hidden_layers", 0)


def find_blocks(
    backbone: nn.Module, model: PreTrainedModel, depth: int | None = None
) -> nn.ModuleList:
    """The list of blocks: as long as the config says, and inside no other such list.

    Args:
        backbone: The stack.
        model: The model that it is a part of.
        depth: How long, where the stack's own config does not say it.

    Raises:
        InputError: There is none, or there are several.
    """
    depth = depth_of(backbone, model) if depth is None else depth
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
