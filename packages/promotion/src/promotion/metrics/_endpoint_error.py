"""The distance between two flow vectors."""

from __future__ import annotations

from jaxtyping import Float
from kornia.metrics import aepe
from torch import Tensor


def endpoint_error(
    predicted: Float[Tensor, "*b 2 h w"], target: Float[Tensor, "*b 2 h w"]
) -> Float[Tensor, "*b h w"]:
    """The endpoint error of every pixel, `|f^ - f|_2`, in pixels.

    Example:
        >>> endpoint_error(torch.tensor([[[3.0]], [[4.0]]]), torch.zeros(2, 1, 1))
        tensor([[5.]])
    """
    # kornia takes the two components last
    return aepe(predicted.movedim(-3, -1), target.movedim(-3, -1), reduction="none")
