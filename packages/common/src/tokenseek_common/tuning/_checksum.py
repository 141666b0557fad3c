"""A checksum of a tensor, by which a change is noticed without a copy."""

from __future__ import annotations

import torch
from torch import Tensor

from tokenseek_common._storages import dense_parts

_CHUNK = 2**20
_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


class Checksum:
    """Checksums of tensors: of each, eight bytes for a million numbers.

    The bits of a number, as an integer, are multiplied by an odd random one that depends on its
    place, and added up modulo 2 ** 64. A change of one number always shows, one of several but for
    chance (2 ** -63). Nothing waits for the device.
    """

    def __init__(self) -> None:
        # A generator of its own: what is drawn elsewhere stays as it is.
        draw = torch.Generator().manual_seed(0)
        factors = torch.randint(-(2**63), 2**63 - 1, (_CHUNK,), generator=draw) | 1
        self._factors = {torch.device("cpu"): factors}

    def __call__(self, tensor: Tensor) -> list[Tensor]:
        """Add up, of a sharded tensor what this process holds.

        Returns:
            A sum for each chunk, on the tensor's device.
        """
        return [
            self._sum(chunk)
            for part in dense_parts(tensor.detach())
            for chunk in _bits(part).split(_CHUNK)
        ]

    def _sum(self, bits: Tensor) -> Tensor:
        if bits.device not in self._factors:
            self._factors[bits.device] = self._factors[torch.device("cpu")].to(bits.device)
        return (bits * self._factors[bits.device][: len(bits)]).sum()


def _bits(tensor: Tensor) -> Tensor:
    """The numbers of a tensor in a row, as integers of their bits."""
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor)
    return tensor.reshape(-1).view(_INTEGERS[tensor.element_size()])
