"""Stacks whose tokens see what came before: prompts must not tell them what comes after."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple, cast

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Int
from torch import Tensor
from transformers import PreTrainedModel
from transformers.utils.generic import ModelOutput

from mept._current import Current, Prompted
from mept._families import Family
from mept._scope import IGNORED, before_labels, before_position, is_bare, without_prefix
from mept._stack import Arguments, Stack, real_tokens, require_padding_mask
from tokenseek_common import InputError
from tokenseek_common.rows import RowRecord, RowSelection

if TYPE_CHECKING:
    from mept._config import MeptConfig

MARK = "_mept_prefix"
"""The attribute of a cache that says whose prompt rows it holds."""


STACK = "stack"
"""The name under which the stack itself keeps what the second of two passes needs."""


class Recorded(NamedTuple):
    """What the stack keeps of the first of two passes."""

    prompted: Prompted
    """Which rows were there."""
    positions: Int[Tensor, "b_ p_n"]
    """Their positions."""


@dataclass(frozen=True)
class Prefix:
    """Prompt rows in a cache."""

    adapter: str
    rows: int


class DecoderStack(Stack):
    """The blocks of a decoder, with and without a cache.

    A pass over a prompt routes, and its cache holds the prompt rows. A step that extends such a
    cache by a token routes nothing: mask and position count the rows that are there.

    Args:
        family: Where the blocks lie, and whether positions move.
        current: The pass that runs now.
        reads_only: Whether the model's head predicts none of its tokens.
        window: The width of the sliding window of some layers, if there are any.
    """

    def __init__(
        self, family: Family, current: Current, *, reads_only: bool, window: int | None
    ) -> None:
        super().__init__(family, current, window)
        self.reads_only = reads_only
        self.has_looked = False  # whether the first rows of a training have prompts

    def set_prompts_apart(self, stack: PreTrainedModel, arguments: Arguments) -> None:
        """Take the targets off the prompt of a text that is all to be predicted, as configured."""
        active, labels = self.active(stack), arguments.get("labels")
        if active is None or labels is None or self.reads_only:
            return
        config, mask = active[1], arguments.get("attention_mask")
        if config.routing_scope == "all" or labels.ndim != 2:
            return
        if isinstance(mask, Tensor) and mask.shape != labels.shape:  # refused, or ahead of a cache
            return
        real = real_tokens(mask, labels).to(labels.device)
        if not config.routing_prefix:
            self._warn_of_bare_rows(stack, real, labels, config)
            return
        learnt = arguments["labels"] = without_prefix(real, labels, config.routing_prefix)
        if arguments.get("num_items_in_batch") is not None:  # of the step, counted before
            kept, all_targets = ((targets[:, 1:] != IGNORED).sum() for targets in (learnt, labels))
            arguments["num_items_in_batch"] *= kept / all_targets.clamp(min=1)

    def _warn_of_bare_rows(
        self, stack: PreTrainedModel, real: Tensor, labels: Tensor, config: MeptConfig
    ) -> None:
        """Say once where routers choose by a token that may be the same for all inputs."""
        if self.has_looked or not stack.training or config.num_experts == 1:
            return
        if torch.compiler.is_compiling():  # a look at values would break the graph
            return
        self.has_looked = True
        if bool(is_bare(real, labels).all()):
            warnings.warn(
                f"labels ({labels.shape[0]} rows, all to be predicted from the start) let routers "
                "see the first token alone, so that texts that begin alike train the same experts "
                "and no others; set routing_prefix=0.25 in MeptConfig to route by the first "
                "quarter of each, give prompts the label -100, or pass routing_mask",
                stacklevel=2,
            )

    def prepare(self, stack: PreTrainedModel, arguments: Arguments) -> None:
        """Put prompt rows in front of the tokens, or count those in the cache."""
        active = self.active(stack)
        row_pass = arguments.pop("row_pass", None)
        cache = arguments.get("past_key_values")
        length = 0 if cache is None else int(cache.get_seq_length())
        prefix = getattr(cache, MARK, None) if length else None
        if active is None:
            _require_prefix(prefix, None, length)
            return
        if cache is not None and cache.is_compileable:
            raise InputError(
                f"past_key_values ({type(cache).__name__}) must grow with every token, a fixed "
                "size has no place for the prompt rows; use the default DynamicCache"
            )
        if length:
            _require_prefix(prefix, active[0], length)
            self._continue(arguments, active[1].num_virtual_tokens, length)
        elif isinstance(row_pass, RowSelection):
            self._replay(stack, arguments, row_pass)
        else:
            self._prefill(stack, arguments, active[1])
            if row_pass is not None:
                self._record(arguments, row_pass)

    def finish(self, stack: PreTrainedModel, prompted: Prompted, output: ModelOutput) -> None:
        """Take the prompt rows off, and mark the cache that holds them."""
        super().finish(stack, prompted, output)
        cache, active = output.get("past_key_values"), self.active(stack)
        if cache is not None and active is not None:
            setattr(cache, MARK, Prefix(active[0], prompted.rows))

    def _prefill(self, stack: PreTrainedModel, arguments: Arguments, config: MeptConfig) -> None:
        """Start a sequence."""
        require_unpacked(arguments)
        embeddings, real = self.read(stack, arguments)
        rows, n = config.num_virtual_tokens, real.shape[1]
        self.warn_of_window(rows, rows + n)
        scope = self._scope(torch.ones_like(real) if config.legacy_pool else real, config)

        positions = arguments.get("position_ids")
        if positions is None:
            positions = self._counted(real)
        arguments["position_ids"] = self._positions(positions, rows)
        # Without a mask, transformers takes such positions for several sequences in a row.
        if arguments.get("attention_mask") is None:
            arguments["attention_mask"] = real.long()
        if arguments.get("token_type_ids") is not None:
            arguments["token_type_ids"] = F.pad(arguments["token_type_ids"], (rows, 0))
        self.prompt(stack, arguments, config, embeddings, scope)

    def _record(self, arguments: Arguments, record: RowRecord) -> None:
        """Keep of the first of two passes what some rows cannot tell."""
        prompted = self.current.prompted
        assert prompted is not None
        record.prepended = prompted.rows
        record.routing[STACK] = Recorded(prompted, arguments["position_ids"])
        self.current.prompted = replace(prompted, row_pass=record)

    def _replay(
        self, stack: PreTrainedModel, arguments: Arguments, selection: RowSelection
    ) -> None:
        """Put the prompt rows in front of those that the second of two passes runs."""
        prompted, positions = cast(Recorded, selection.routing_of(STACK))
        rows = prompted.rows
        arguments["position_ids"] = selection.rows(positions)
        if arguments.get("token_type_ids") is not None:
            arguments["token_type_ids"] = F.pad(arguments["token_type_ids"], (rows, 0))
        scope = selection.rows(F.pad(prompted.scope, (rows, 0))) & selection.active  # [b, p + k]
        prompted = replace(prompted, scope=scope[:, rows:], row_pass=selection)
        self.run_with(stack, arguments, self.embed(stack, arguments), prompted)

    def _counted(self, real: Bool[Tensor, "b n"]) -> Int[Tensor, "b n"]:
        """The positions of tokens where none are given.

        Those that move are counted from the first real token: the prompt rows stand still, so that
        padding between them and the tokens would change what these see. Learned ones are those that
        the base model takes.
        """
        skips = self.family.shifts or self.family.skips_padding
        counted = real if skips else torch.ones_like(real)
        return (counted.cumsum(1) - 1).clamp(min=0)

    def _positions(self, positions: Int[Tensor, "b n"], rows: int) -> Int[Tensor, "b p_n"]:
        """Number the prompt rows, and the tokens behind them where positions move."""
        if not self.family.shifts:
            return F.pad(positions, (rows, 0))  # any will do, the rows are replaced
        leading = torch.arange(rows, device=positions.device, dtype=positions.dtype)
        return torch.cat([leading.expand(positions.shape[0], -1), positions + rows], dim=1)

    def _continue(self, arguments: Arguments, rows: int, length: int) -> None:
        """Extend a sequence by a token."""
        tokens = arguments.get("input_ids")
        tokens = arguments["inputs_embeds"] if tokens is None else tokens
        if tokens.shape[1] != 1:
            raise InputError(
                f"input_ids ({tokens.shape[1]} tokens) must be one token a step where a cache "
                "holds prompts, which were routed by what it was filled with; start with an empty "
                "cache"
            )
        self.warn_of_window(rows, length + 1)
        mask, positions = arguments.get("attention_mask"), arguments.get("position_ids")
        real = torch.ones(1, length - rows + 1, dtype=torch.bool, device=tokens.device)
        if mask is not None:
            require_padding_mask(mask)
            real = mask.bool()
            arguments["attention_mask"] = F.pad(mask, (rows, 0), value=1)
        if positions is None:
            positions = self._counted(real)[:, -1:]
        arguments["position_ids"] = positions + (rows if self.family.shifts else 0)

    def _scope(self, real: Bool[Tensor, "b n"], config: MeptConfig) -> Bool[Tensor, "b n"]:
        """The tokens that routers may look at."""
        generation, labels = self.current.generation, self.current.call.labels
        asked = self.asked_scope(real)
        if generation is not None:
            if generation.length is None:
                generation.length = real.shape[1]
            return before_position(real, generation.length) if asked is None else asked
        if asked is not None:
            return asked
        if self.reads_only or config.routing_scope == "all":
            return real
        if labels is None:
            raise InputError(
                "labels (None) must be given where a decoder is not called by generate, so that "
                "its prompts are routed by what comes before them; pass labels or routing_mask, "
                "wrap the data_collator of a Trainer that takes labels away in "
                'mept.RoutingCollator, or set routing_scope="all" where looking ahead does no harm'
            )
        return before_labels(real, labels.to(real.device).reshape(real.shape))


def require_unpacked(arguments: Arguments) -> None:
    """Refuse several sequences in a row, which would get one routing.

    Raises:
        InputError: Positions begin again, and no mask says that it is padding.
    """
    positions = arguments.get("position_ids")
    packed = arguments.get("cu_seq_lens_q") is not None
    if positions is not None and arguments.get("attention_mask") is None:
        packed = packed or bool((positions.diff(dim=-1) != 1).any())
    if packed:
        raise InputError(
            "position_ids (packed sequences) must not begin again, a row is routed as one input; "
            "give each sequence a row of its own"
        )


def _require_prefix(prefix: Prefix | None, adapter: str | None, length: int) -> None:
    """Refuse a cache that was filled with other prompts than those in use.

    Raises:
        InputError: It holds none, or another adapter's, or some where there should be none.
    """
    holds = None if prefix is None else prefix.adapter
    if holds != adapter:
        raise InputError(
            f"past_key_values ({length} rows, prompts of {holds}) must have been filled with the "
            f"prompts in use, those of {adapter}; start with an empty cache"
        )
