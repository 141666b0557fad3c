"""The part of a map that is known."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from tokenseek_common import InputError


def known_part(
    name: str, values: Float[Tensor, "*c h w"], valid: Bool[Tensor, "h w"] | None
) -> tuple[Float[Tensor, "*c h w"], Bool[Tensor, "h w"]]:
    """Give a map with 0 wherever it is unknown, and where it is known, on the CPU.

    Raises:
        InputError: A known value is not finite.
    """
    values = values.detach().cpu().float()
    known = torch.ones(values.shape[-2:], dtype=torch.bool) if valid is None else valid.cpu().bool()
    bad = int((~values[..., known].isfinite()).sum())
    if bad:
        raise InputError(
            f"{name} ({bad} values are NaN or infinite) must be finite wherever it is known; "
            "mark the other pixels as not valid"
        )
    return torch.where(known, values, 0.0), known


def check_scale(known: Bool[Tensor, "h w"], given: str) -> None:
    """Refuse to choose a scale that nothing known tells."""
    if not known.any():
        raise InputError(
            f"valid (no pixel) must hold at least one pixel to choose the scale by; give {given}"
        )
