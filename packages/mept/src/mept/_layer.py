"""One block of a model, with the prompt rows that it gets in place of the previous block's."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from mept._buffers import Buffers
from mept._current import Current, Prompted
from mept._initial import Start, initial, place_of
from mept._routing import Routing, route
from tokenseek_common.rows import RowRecord

if TYPE_CHECKING:
    from mept._config import MeptConfig


class Decided(NamedTuple):
    """What a layer keeps of the first of two passes, without a graph."""

    routing: Routing
    """How it routed."""
    dropout: Float[Tensor, "b p d"] | None
    """What its prompt rows were multiplied by, where some of their units were dropped."""


class PromptedBlock(nn.Module):
    """Wraps a block: routes by its token rows, replaces its prompt rows, and runs it, Eq. (7).

    A wrapper and no hook, so that checkpointing recomputes the block alone, and routes once.

    Args:
        block: A block of the model, which takes the rows as its first argument.
        current: The pass that runs now, shared by all blocks of a model.
        name: What the block is called in the model.
    """

    def __init__(self, block: nn.Module, current: Current, name: str) -> None:
        super().__init__()
        self.name = name
        self.base_layer = block
        self.current = current
        self.settings: dict[str, MeptConfig] = {}
        self.mept_router = nn.ParameterDict()
        self.mept_router_scale = nn.ParameterDict()  # of cosine routers, its logarithm
        self.mept_router_mean = Buffers()  # of what cosine routers read
        self.mept_experts = nn.ParameterDict()
        self.mept_shared = nn.ParameterDict()
        self.unfitted: set[str] = set()  # prompts whose router waits for `fit_routers`

    @property
    def active(self) -> str | None:
        """The name of the prompts that are in use, if any."""
        return next(iter(self.settings), None)

    @property
    def is_noisy(self) -> bool:
        """Whether noise is drawn: in training, but not in `generate`, which may route anew."""
        return self.training and self.current.generation is None

    def add_prompts(self, name: str, config: MeptConfig, hidden_size: int, start: Start) -> None:
        """Give the block experts and a router, drawn anew, on its device and in float32 at least.

        Args:
            name: What the prompts are called.
            config: Their settings.
            hidden_size: The width of the block's rows.
            start: What `starts` found for the block.
        """
        drawn = initial(config, hidden_size, start)
        device, dtype = place_of(self.base_layer)
        self.settings[name] = config
        waits = config.router_init == "kmeans" and not config.inference_mode
        (self.unfitted.add if waits else self.unfitted.discard)(name)
        self.mept_router[name] = nn.Parameter(drawn.router.to(device, dtype))
        if drawn.log_scale is not None:
            self.mept_router_scale[name] = nn.Parameter(drawn.log_scale.to(device, dtype))
            self.mept_router_mean[name] = torch.zeros(hidden_size, device=device, dtype=dtype)
        self.mept_experts[name] = nn.Parameter(drawn.experts.to(device, dtype))
        if drawn.shared is not None:
            self.mept_shared[name] = nn.Parameter(drawn.shared.to(device, dtype))

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        """Loaded routers wait for nothing more."""
        self.unfitted = {n for n in self.unfitted if f"{prefix}mept_router.{n}" not in state_dict}
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def forward(self, hidden_states: Float[Tensor, "b n d"], *args: Any, **kwargs: Any) -> Any:
        """Run the block on this layer's prompt rows and the tokens."""
        prompted, name = self.current.prompted, self.active
        if prompted is None:
            return self.base_layer(hidden_states, *args, **kwargs)
        tokens = hidden_states[:, prompted.rows :]
        if self.current.adapters is not None:
            before = hidden_states[:, : prompted.rows]
            prompts = self.mixed_prompts(self.current.adapters, before, tokens, prompted)
            hidden_states = torch.cat([prompts, tokens], dim=1)
        elif name is not None:
            prompts = self.prompts(name, tokens, prompted)
            hidden_states = torch.cat([prompts.to(tokens), tokens], dim=1)  # [b, p + n, d]
        return self.base_layer(hidden_states, *args, **kwargs)

    def mixed_prompts(
        self,
        adapters: tuple[str, ...],
        before: Float[Tensor, "b p d"],
        tokens: Float[Tensor, "b n d"],
        prompted: Prompted,
    ) -> Float[Tensor, "b p d"]:
        """Make the prompt rows of inputs that differ in their adapters, each group by itself.

        Rows of adapters without prompts for this block are carried on.
        """
        own = [each for each in adapters for _ in range(len(tokens) // len(adapters))]  # beams
        for name in dict.fromkeys(each for each in own if each in self.mept_experts):
            places = torch.tensor([p for p, each in enumerate(own) if each == name])
            places = places.to(tokens.device)
            scope, divisor = prompted.scope[places], prompted.divisor[places]
            group = replace(prompted, scope=scope, divisor=divisor)
            routing = self.route(name, tokens[places], group, None)
            before = before.index_copy(0, places, routing.prompts.to(before))
        return before

    def prompts(
        self, name: str, tokens: Float[Tensor, "b n d"], prompted: Prompted
    ) -> Float[Tensor, "b p d"]:
        """Make the prompt rows of every input, and note how."""
        selection, config = prompted.replayed, self.settings[name]
        decided = None if selection is None else cast(Decided, selection.routing_of(self.name))
        routing = self.route(name, tokens, prompted, None if decided is None else decided.routing)
        if decided is None:
            dropout = self.dropout_like(routing.prompts, config.prompt_dropout)
            decided = Decided(routing.detached(), dropout)
        if isinstance(prompted.row_pass, RowRecord):
            prompted.row_pass.routing[self.name] = decided
        if selection is None or torch.is_grad_enabled():
            # The graph of a pass that another replays must not outlive it, unless for its losses.
            losses = config.aux_loss_coef or config.z_loss_coef
            kept = routing if losses or prompted.row_pass is None else decided.routing
            self.current.call.routings[self.name] = kept
        return routing.prompts if decided.dropout is None else routing.prompts * decided.dropout

    def dropout_like(self, prompts: Float[Tensor, "b p d"], p: float) -> Tensor | None:
        """Draw what prompt rows are multiplied by, where some of their units are dropped."""
        return F.dropout(torch.ones_like(prompts), p) if p and self.is_noisy else None

    def route(
        self,
        name: str,
        tokens: Float[Tensor, "b n d"],
        prompted: Prompted,
        recorded: Routing | None,
    ) -> Routing:
        """Choose the prompt rows of every input by its token rows."""
        config, router = self.settings[name], self.mept_router[name]
        return route(
            tokens.to(router.device),
            prompted.scope.to(router.device),
            router,
            self.mept_experts[name],
            self.mept_shared[name] if config.shared_expert else None,
            top_k=config.top_k,
            log_scale=self.mept_router_scale[name] if config.router == "cosine" else None,
            mean=self.mept_router_mean[name] if config.router == "cosine" else None,
            noise=config.router_noise if self.is_noisy else 0.0,
            gumbel=config.gumbel and self.is_noisy,
            normalize=config.gate_normalize == "sum",
            divisor=prompted.divisor.to(router.device),
            recorded=recorded,
        )

    def __getattr__(self, name: str) -> Any:
        """Give what the model asks of its block, say its attention type."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == "base_layer":  # not there yet
                raise
            return getattr(self.base_layer, name)
