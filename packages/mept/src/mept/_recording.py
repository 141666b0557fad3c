"""What routers decide while a model runs, written down beside its graph.

Shapes: `l` layers with prompts, `s` samples, `b` of them in a pass, `e` experts, `k` experts used,
`d` hidden size, `u` units of a layer's feed-forward, `p` prompt rows, `n` token rows.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from mept._attach import ATTRIBUTE
from mept._current import Call
from mept._families import blocks_of, stack_of
from mept._layer import PromptedBlock
from tokenseek_common import InputError


class _Decided(NamedTuple):
    """What one layer decided in a pass; of a whole pass, layers come first."""

    probabilities: Tensor
    chosen: Tensor
    gates: Tensor
    pooled: Tensor
    activations: Tensor


class RoutingRecord:
    """What the routers of a model decided, sample by sample, in the order of the passes.

    A sample is a row that prompts were made for: beams are rows, and so is every candidate of a
    question that is asked with each. A step of generation that extends a cache makes none.

    Args:
        adapter: The name of the prompts in use.
        layers: The indices of the layers that have such prompts.

    Attributes:
        group: What the samples of the passes to come are told apart by, say their task: one name
            for all of them, or a name for each row of the next pass.
    """

    def __init__(self, adapter: str, layers: Sequence[int]) -> None:
        self.adapter = adapter
        self.layers = tuple(layers)
        self.group: str | Sequence[str] = "all"
        self._passes: list[_Decided] = []
        self._groups: list[str] = []

    @property
    def groups(self) -> tuple[str, ...]:
        """The group of each sample."""
        return tuple(self._groups)

    @property
    def probabilities(self) -> Float[Tensor, "l s e"]:
        """What the routers gave each expert, Eq. (4)."""
        return self._joined("probabilities")

    @property
    def chosen(self) -> Int[Tensor, "l s k"]:
        """The experts that were taken, the best first."""
        return self._joined("chosen")

    @property
    def gates(self) -> Float[Tensor, "l s e"]:
        """The weights of the experts, zero for those that were not taken, Eq. (5)."""
        return self._joined("gates")

    @property
    def pooled(self) -> Float[Tensor, "l s d"]:
        """The average token that a router was shown, Eq. (2)."""
        return self._joined("pooled")

    @property
    def activations(self) -> Float[Tensor, "l s u"]:
        """How large each unit of the feed-forward was, averaged over the tokens in `pooled`."""
        return self._joined("activations")

    def _add(self, layers: Sequence[_Decided], *, again: bool = False) -> None:
        """Write down a pass.

        Args:
            layers: What each layer decided.
            again: Whether it is in place of the last, a rehearsal of the same call.

        Raises:
            InputError: There are not as many names in `group` as rows.
        """
        together = _Decided(*(torch.stack(tensors) for tensors in zip(*layers, strict=True)))
        rows = together.chosen.shape[1]
        names = [self.group] * rows if isinstance(self.group, str) else list(self.group)
        if len(names) != rows:
            raise InputError(
                f"group ({len(names)} names) must be one name, or as many as the pass has rows "
                f"({rows}); set it before each pass"
            )
        if again:
            del self._passes[-1], self._groups[-rows:]
        self._passes.append(together)
        self._groups += names

    def _joined(self, name: str) -> Tensor:
        if not self._passes:
            raise InputError(
                "record (0 passes) must hold a pass of the model with its prompts on; run the "
                "model inside `with record_routing(model)`"
            )
        return torch.cat([getattr(each, name) for each in self._passes], dim=1)


@contextmanager
def record_routing(model: nn.Module) -> Iterator[RoutingRecord]:
    """Write down what the routers of a model decide inside the block.

    Nothing that the model computes changes, no tensor of its graph is kept, and nothing stays on
    the model. A pass is written down once, also where checkpointing computes it twice, and only
    once it has gone through all layers. A pass with the adapter off leaves no trace.

    Args:
        model: A model with prompts in use, inside PEFT or by itself. Of `DataParallel`, the
            replicas are not recorded.

    Yields:
        The record, which stays when the block is left. Its numbers are in float32 at least, on the
        CPU: for each sample and layer 2e + k + d + u of them.

    Raises:
        InputError: The model has no prompts, or they are off; or, of a pass, others are in use.

    Example:
        >>> with record_routing(model) as record:
        ...     for task, batch in batches:
        ...         record.group = task
        ...         model(**batch)
        >>> record.probabilities.shape
        torch.Size([12, 64, 4])
    """
    blocks, down = blocks_in_use(model)
    if not blocks:
        raise InputError(
            f"model ({type(model).__name__}) must have prompts in use; "
            "give it some by get_peft_model, or switch its adapter on"
        )
    record = RoutingRecord(str(next(iter(blocks.values())).active), list(blocks))
    with ExitStack() as stack:
        for handle in _Scribe(record, list(blocks.values())).attach(down):
            stack.callback(handle.remove)
        yield record


def blocks_in_use(model: nn.Module) -> tuple[dict[int, PromptedBlock], str]:
    """The blocks with prompts by their index, and where their units go down."""
    host = next((module for module in model.modules() if ATTRIBUTE in vars(module)), None)
    if not isinstance(host, PreTrainedModel):
        return {}, ""
    family = vars(host)[ATTRIBUTE].family
    blocks = enumerate(blocks_of(stack_of(host, family), family))
    in_use = {i: b for i, b in blocks if isinstance(b, PromptedBlock) and b.active is not None}
    return in_use, family.down


class _Scribe:
    """The hooks of a record.

    They are on the wrappers of the blocks, which checkpointing does not run again. Inside a block
    it does, and there nothing is kept unless its wrapper runs.

    Args:
        record: Where passes are written down.
        blocks: The blocks with prompts, in order.
    """

    def __init__(self, record: RoutingRecord, blocks: list[PromptedBlock]) -> None:
        self.record = record
        self.blocks = blocks
        self.layers: list[_Decided] = []  # of the pass that runs
        self.units: list[Tensor] | None = None  # of the block that runs, [b, p + n, u] in parts,
        # or in OPT with its rows in one
        self.call: weakref.ref[Call] | None = None  # whose pass was the last

    def attach(self, down: str) -> Iterator[RemovableHandle]:
        """Put the hooks on the blocks, and on the projections that lie there inside them."""
        for block in self.blocks:
            yield block.register_forward_pre_hook(self.enter)
            yield block.base_layer.get_submodule(down).register_forward_pre_hook(self.keep)
            yield block.register_forward_hook(self.leave, always_call=True)

    def enter(self, block: PromptedBlock, args: tuple[Any, ...]) -> None:
        """Begin a block, and with the first a pass."""
        prompted = block.current.prompted
        if block.active is None or prompted is None or prompted.replayed:  # it gets no rows, or few
            return
        if block.current.adapters is not None:
            raise InputError(
                f"adapter_names ({', '.join(dict.fromkeys(block.current.adapters))}) must be left "
                "out where routing is recorded, a record is of one adapter; choose it by "
                "set_adapter"
            )
        if block.active != self.record.adapter:
            raise InputError(
                f"adapter ({block.active}) must be {self.record.adapter}, as when the record was "
                "begun; begin one for each"
            )
        self.units = []
        if block is self.blocks[0]:
            self.layers = []

    def keep(self, down: nn.Module, args: tuple[Tensor, ...]) -> None:
        """Keep the units of the block that runs; BERT may compute them in parts."""
        if self.units is not None:
            self.units.append(args[0].detach())

    @torch.no_grad()
    def leave(self, block: PromptedBlock, args: tuple[Any, ...], output: Any) -> None:
        """End a block, and with the last a pass."""
        units, self.units = self.units, None
        prompted = block.current.prompted
        if output is None or units is None or prompted is None:  # None: the block failed
            return
        routing = block.current.call.routings[block.name]
        activations = torch.cat(units, dim=-2)
        activations = activations.view(len(prompted.scope), -1, activations.shape[-1])
        decided = _Decided(
            routing.probabilities,
            routing.chosen,
            routing.gates,
            routing.pooled,
            mean_activation(activations, prompted.scope),
        )
        self.layers.append(_Decided(*(tensor.detach().cpu() for tensor in decided)))
        if block is self.blocks[-1]:
            call = block.current.call
            self.record._add(self.layers, again=self.call is not None and self.call() is call)
            self.call = weakref.ref(call)  # else it would keep the graph


def mean_activation(
    units: Float[Tensor, "b p_n u"], mask: Bool[Tensor, "b n"]
) -> Float[Tensor, "b u"]:
    """The mean absolute value of each unit over the tokens of a mask, without prompt rows.

    Returns:
        The means, in float32 at least; zero where the mask has no token.
    """
    tokens = units[:, -mask.shape[1] :].abs()  # [b, n, u]
    tokens = tokens.to(torch.promote_types(tokens.dtype, torch.float32))
    mask = mask.to(tokens.device)
    total = tokens.masked_fill(~mask[..., None], 0).sum(1)
    return total / mask.sum(1, keepdim=True).clamp(min=1)
