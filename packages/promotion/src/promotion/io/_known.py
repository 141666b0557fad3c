"""What a caller wants written: of the right shape, and a true number wherever it is known."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Num
from torch import Tensor

from tokenseek_common import InputError


def check_layout(
    name: str, values: Tensor, channels: tuple[int, ...], valid: Tensor | None
) -> None:
    """Refuse values and masks of another shape or type.

    Args:
        name: What the values are, for errors.
        values: Must be floating, of ``[*channels, h, w]``, with at least one pixel.
        channels: ``(2,)`` for flow, ``()`` for depth.
        valid: Must be bool, of ``[h, w]``.

    Raises:
        InputError: If they are not.
    """
    shape = tuple(values.shape)
    fits = len(shape) == len(channels) + 2 and shape[:-2] == channels and min(shape) > 0
    if not (fits and values.is_floating_point()):
        wanted = ", ".join([*map(str, channels), "h", "w"])
        raise InputError(
            f"{name} ({layout(values)}) must be floating [{wanted}]; reshape or convert it"
        )
    size = list(shape[-2:])
    if valid is not None and layout(valid) != f"bool {size}":
        raise InputError(
            f"valid ({layout(valid)}) must be bool {size}, as {name} is; "
            "leave it out if every pixel is known"
        )


def layout(tensor: Tensor) -> str:
    """The type and shape of a tensor, such as ``float32 [2, 4, 8]``."""
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"


def first_of(values: Num[np.ndarray, "h w ..."], where: Bool[np.ndarray, "h w ..."]) -> str:
    """Say what stands at the first of some places, and where that is."""
    place = tuple(np.argwhere(where)[0])
    return f"{values[place]:g} at row {place[0]}, column {place[1]}"
