"""Places and motions, which need more digits than half precision has."""

from __future__ import annotations

import torch
from torch import Tensor


def exact(values: Tensor) -> Tensor:
    """In float32 at least: of places beyond 256 bfloat16 knows no fraction."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
