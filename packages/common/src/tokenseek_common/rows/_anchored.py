"""A value from pass one with the gradient of pass two, Eq. (3)."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor


def anchored(recorded: Float[Tensor, "*shape"], live: Float[Tensor, "*shape"]) -> Tensor:
    """Give a recorded value the gradient of the part of it that was computed anew.

        s~ = sg(s) + live - sg(live)                                                         (3)

    Args:
        recorded: The whole value, of all rows, s.
        live: What the kept rows add to it, with gradient.

    Returns:
        The recorded value, of which `live` gets the whole gradient and `recorded` none.
    """
    return recorded.detach() + (live - live.detach())
