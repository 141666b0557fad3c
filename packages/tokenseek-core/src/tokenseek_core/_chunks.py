"""How much of a large product exists at a time: as much as its device has room for.

Logits of all rows, and the attention map of a block, exist in chunks only. With chunks of a few
rows, each one reads the head's whole table and launches its kernels for little work; with large
ones, they would be the step's largest tensors.
"""

from __future__ import annotations

from torch import Tensor
from torch._subclasses.fake_tensor import is_fake

from tokenseek_common.memory import free_bytes

LEAST = 16 * 2**20
"""Bytes of a chunk where memory is short."""

MOST = 2**30
"""Bytes of a chunk where it is not: 4096 rows of logits at a vocabulary of 128k in bfloat16."""

MOST_ON_HOST = LEAST
"""The same on a CPU, where few rows keep a core busy and larger chunks would be the step's peak:
SmolLM2, 512 tokens, works in 16 % of a dense step's memory with 16 MiB and in 20 % with 32 MiB."""

SHARE = 16
"""One part in so many of the free memory is a chunk's, which needs a few buffers of its size."""


def chunk_bytes(tensor: Tensor) -> int:
    """Bytes of a chunk on the device of `tensor`; a fake one's is short of memory."""
    free = 0 if is_fake(tensor) else free_bytes(tensor.device)
    most = MOST_ON_HOST if tensor.device.type == "cpu" and not is_fake(tensor) else MOST
    return min(most, max(LEAST, free // SHARE))


def walked(size: int, chunk: int, tensor: Tensor) -> int:
    """How much of a dimension to walk: all, but a fake tensor's first chunks stand for the rest."""
    return min(size, 3 * chunk) if is_fake(tensor) else size
