"""Routers that are compared, and what is tried on one of them beyond the settings of the method.

Shapes: `b` batch, `n` token rows, `d` hidden size, `p` prompt rows, `e` experts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from mept._layer import PromptedBlock
from mept._routing import Routing

BIAS_STEP = 2e-2
"""By how much what is added to an expert's probability moves in a step, up or down."""


@dataclass(frozen=True)
class Router:
    """A way to route.

    Args:
        label: How tables call it.
        settings: Those of `MeptConfig`.
        fitted: Whether its rows start at centroids of what routers read.
        frozen: Whether its rows and scale stay where they start.
        slower: What its rate is divided by.
        scale: What its cosines are multiplied by at first; None is the default of the method.
        fixed_scale: Whether that stays so.
        row_length: How long its rows are at first, in parts of the default.
        balanced: Whether experts are ranked with a bias, which rises while they get too little.
        features: What is done to pooled tokens: as the method does, nothing, or whitened too.
        gates: Weights of the chosen experts: p, its root, or 1 with the gradient of p.
    """

    label: str
    settings: dict[str, Any] = field(default_factory=dict)
    fitted: bool = False
    frozen: bool = False
    slower: float = 1.0
    scale: float | None = None
    fixed_scale: bool = False
    row_length: float = 1.0
    balanced: bool = False
    features: str = "method"
    gates: str = "p"

    @property
    def is_plain(self) -> bool:
        """Whether the method itself does all of it."""
        return not self.balanced and self.features == "method" and self.gates == "p"


@dataclass
class Varied:
    """What takes the place of a block's `route`.

    Args:
        block: The block.
        router: What is done otherwise.
        straight: The block's own `route`.
        bias: Added to the probabilities that experts are ranked by.
        whitening: What pooled tokens less their mean are multiplied by.
    """

    block: PromptedBlock
    router: Router
    straight: Callable[..., Routing]
    bias: Float[Tensor, " e"]
    whitening: Float[Tensor, "d d"] | None = None

    def __call__(self, name: str, tokens: Tensor, prompted: Any, recorded: Any) -> Routing:
        """Route, from what the block's own router pools."""
        plain = self.straight(name, tokens, prompted, recorded)
        config = self.block.settings[name]
        router, pooled = self.block.mept_router[name], plain.pooled
        if config.router == "cosine":
            pooled = pooled - self.block.mept_router_mean[name]
        if self.whitening is not None:
            pooled = pooled @ self.whitening
        if config.router == "cosine":
            scale = self.block.mept_router_scale[name].exp()
            logits = scale * (F.normalize(pooled) @ F.normalize(router).T)
        else:
            logits = pooled @ router.T
        p = logits.softmax(-1)
        chosen = (p + self.bias).topk(config.top_k).indices
        taken = torch.zeros_like(p).scatter(1, chosen, 1)
        if self.router.balanced and self.block.training:
            load = taken.mean(0) / config.top_k
            self.bias = self.bias + BIAS_STEP * (1 / len(load) - load).sign()
        gates = p.sqrt() if self.router.gates == "root" else p
        gates = 1 + p - p.detach() if self.router.gates == "straight-through" else gates
        gates = gates * taken
        prompts = torch.einsum("be,epd->bpd", gates, self.block.mept_experts[name])
        prompts = prompts + self.block.mept_shared[name]
        return plain._replace(
            prompts=prompts, logits=logits, probabilities=p, chosen=chosen, gates=gates
        )


def vary(block: PromptedBlock, router: Router) -> Varied:
    """Let a block route otherwise."""
    experts = block.settings["default"].num_experts
    varied = Varied(block, router, block.route, torch.zeros(experts))
    vars(block)["route"] = varied
    return varied


KMEANS = {"router": "cosine", "router_init": "kmeans"}
RANDOM = {"router": "cosine", "router_init": "orthogonal"}
LINEAR = {"router": "linear", "router_init": "orthogonal"}

ROUTERS = {
    "linear": Router("linear", LINEAR),
    "kmeans": Router("cosine, k-means", KMEANS, fitted=True),
    "orthogonal": Router("cosine, orthogonal rows", RANDOM),
    "single": Router("one expert", LINEAR | {"num_experts": 1, "top_k": 1}),
    "bias": Router("linear, balanced by bias", LINEAR, balanced=True),
    "frozen": Router("cosine, k-means, frozen", KMEANS, fitted=True, frozen=True),
    "aux": Router("linear, balancing loss 0.1", LINEAR | {"aux_loss_coef": 0.1}),
    "sum": Router("linear, gates that sum to one", LINEAR | {"gate_normalize": "sum"}),
}
"""Those that are compared at three seeds, with the rate chosen of two on dev."""

FIT: dict[str, Any] = {"fitted": True}
VARIANTS = {
    "short": Router(
        "cosine, k-means, nothing taken off, rows of length 1",
        KMEANS,
        row_length=384**-0.5,
        features="pooled",
        **FIT,
    ),
    "orthogonal-short": Router("cosine, orthogonal rows of length 1", RANDOM, row_length=384**-0.5),
    "fixed": Router("cosine, k-means, scale stays 10", KMEANS, fixed_scale=True, **FIT),
    "scale3": Router("cosine, k-means, scale starts at 3", KMEANS, scale=3.0, **FIT),
    "scale30": Router("cosine, k-means, scale starts at 30", KMEANS, scale=30.0, **FIT),
    "uncentred": Router("cosine, k-means, nothing taken off", KMEANS, features="pooled", **FIT),
    "whitened": Router(
        "cosine, k-means, pooled tokens whitened", KMEANS, features="whitened", **FIT
    ),
    "slow": Router("cosine, k-means, router 10 times slower", KMEANS, slower=10.0, **FIT),
    "k1": Router("cosine, k-means, k = 1", KMEANS | {"top_k": 1}, **FIT),
    "k4": Router("cosine, k-means, k = 4", KMEANS | {"top_k": 4}, **FIT),
    "e4": Router("cosine, k-means, E = 4", KMEANS | {"num_experts": 4}, **FIT),
    "e16": Router("cosine, k-means, E = 16", KMEANS | {"num_experts": 16}, **FIT),
    "balanced": Router("cosine, k-means, balanced by bias on top", KMEANS, balanced=True, **FIT),
    "root": Router("cosine, k-means, gates sqrt(p)", KMEANS, gates="root", **FIT),
    "straight": Router(
        "cosine, k-means, gates 1, straight-through", KMEANS, gates="straight-through", **FIT
    ),
    "cosine-sum": Router(
        "cosine, k-means, gates that sum to one", KMEANS | {"gate_normalize": "sum"}, **FIT
    ),
}
"""What is tried on the cosine router with k-means, at its rate."""
