"""What the decoders of a model work on, and what it takes to look at pictures with one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor

from promotion.nn import DepthDecoder, FlowDecoder


@dataclass(frozen=True)
class Features:
    """What both decoders work on."""

    features: Float[Tensor, "p d i j"]
    assignments: Int[Tensor, "p i j"] | None
    denoising_loss: Float[Tensor, "p"] | None
    margin_loss: Float[Tensor, "p"] | None


@runtime_checkable  # the test run checks arguments against their annotations
class Network(Protocol):
    """A model by its parts: features of pictures, and the two decoders of them."""

    flow: FlowDecoder
    depth: DepthDecoder

    def extract(
        self, pictures: Float[Tensor, "p 3 h w"], *, most_keys: int | None = None
    ) -> Features:
        """Encode pictures whose sides are multiples of `STRIDE`."""
