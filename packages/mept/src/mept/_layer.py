"""One block of a model, with the prompt rows that it gets in place of the previous block's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from mept._current import Current
from mept._initial import Start, initial, place_of
from mept._routing import Routing, route

if TYPE_CHECKING:
    from mept._config import MeptConfig


class PromptedBlock(nn.Module):
    """Wraps a block: routes by its token rows, replaces its prompt rows, and runs it, Eq. (7).

    A wrapper and no hook, so that checkpointing recomputes the block alone, and routes once.

    Args:
        block: A block of the model, which takes the rows as its first argument.
        current: The pass that runs now, shared by all blocks of a model.
    """

    def __init__(self, block: nn.Module, current: Current) -> None:
        super().__init__()
        self.base_layer = block
        self.current = current
        self.settings: dict[str, MeptConfig] = {}
        self.mept_router = nn.ParameterDict()
        self.mept_experts = nn.ParameterDict()
        self.mept_shared = nn.ParameterDict()

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
        self.mept_router[name] = nn.Parameter(drawn.router.to(device, dtype))
        self.mept_experts[name] = nn.Parameter(drawn.experts.to(device, dtype))
        if drawn.shared is not None:
            self.mept_shared[name] = nn.Parameter(drawn.shared.to(device, dtype))

    def forward(self, hidden_states: Float[Tensor, "b n d"], *args: Any, **kwargs: Any) -> Any:
        """Run the block on this layer's prompt rows and the tokens."""
        name, prompted = self.active, self.current.prompted
        if name is not None and prompted is not None:
            tokens = hidden_states[:, prompted.rows :]
            routing = self.route(name, tokens)
            self.current.call.routings.append(routing)
            prompts = routing.prompts
            if self.settings[name].prompt_dropout:
                prompts = F.dropout(prompts, self.settings[name].prompt_dropout, self.is_noisy)
            hidden_states = torch.cat([prompts.to(tokens), tokens], dim=1)  # [b, p + n, d]
        return self.base_layer(hidden_states, *args, **kwargs)

    def route(self, name: str, tokens: Float[Tensor, "b n d"]) -> Routing:
        """Choose the prompt rows of every input by its token rows."""
        config, prompted = self.settings[name], self.current.prompted
        assert prompted is not None
        router = self.mept_router[name]
        return route(
            tokens.to(router.device),
            prompted.scope.to(router.device),
            router,
            self.mept_experts[name],
            self.mept_shared[name] if config.shared_expert else None,
            top_k=config.top_k,
            noise=config.router_noise if self.is_noisy else 0.0,
            gumbel=config.gumbel and self.is_noisy,
            normalize=config.gate_normalize == "sum",
            divisor=prompted.divisor,
        )

    def __getattr__(self, name: str) -> Any:
        """Give what the model asks of its block, say its attention type."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == "base_layer":  # not there yet
                raise
            return getattr(self.base_layer, name)
