"""Keys and values in the host's memory, for steps whose record would fill their device."""

from __future__ import annotations

import torch
from torch import Tensor

from tokenseek_core._attention import own


def to_host(states: Tensor) -> Tensor:
    """A copy of `states` in the host's memory; on a CPU they are there.

    For CUDA it is pinned, so that neither this copy nor the one back is waited for. Both are in the
    order of the stream that computes, which therefore needs no event between them.
    """
    if states.device.type == "cpu":
        return own(states)
    pinned = states.is_cuda
    host = torch.empty(states.shape, dtype=states.dtype, pin_memory=pinned)
    return host.copy_(states.detach(), non_blocking=pinned)
