"""Sequences that lie one behind another in the rows of a batch, each seen as an instance.

Shapes: `b` batch, `s` tokens of a row, `n` sequences of the batch, `l` tokens of the longest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from torch._subclasses.fake_tensor import is_fake
from torch.nn.utils.rnn import pad_sequence

from tokenseek_core._counts import Counts


@dataclass(frozen=True)
class Sequences:
    """Where the tokens of each sequence lie.

    Args:
        slots: Their places in the flattened rows, in order; b * s fills up, [n, l].
        valid: False for what fills up, [n, l].
        supervised: Rows of each that have a target, [n].
        counts: The same and more, as the host knows it.
        rows: The row of the batch that each lies in, in ascending order.
        shape: b and s.
    """

    slots: Int[Tensor, "n l"]
    valid: Bool[Tensor, "n l"]
    supervised: Int[Tensor, " n"]
    counts: Counts
    rows: Sequence[int]
    shape: tuple[int, int]

    @classmethod
    def find(
        cls,
        valid: Bool[Tensor, "b s"],
        supervised: Bool[Tensor, "b s"],
        begun: Bool[Tensor, "b s"],
    ) -> Sequences:
        """Find them, on the host.

        Args:
            valid: Tokens that are not padding.
            supervised: Rows that have a target.
            begun: Where a sequence begins behind another one.
        """
        b, s = valid.shape
        first = torch.arange(s) == 0
        starts = (begun | first).flatten().nonzero().flatten()
        sizes = starts.diff(append=torch.tensor([b * s])).tolist()

        def each(marks: Bool[Tensor, "b s"]) -> tuple[int, ...]:
            return tuple(int(part.sum()) for part in marks.flatten().split(sizes))

        counts = Counts(each(valid), each(supervised), each(valid & supervised))
        tokens = valid.flatten().nonzero().flatten().split(counts.lengths)
        slots = pad_sequence(tokens, batch_first=True, padding_value=b * s)
        return cls(
            slots=slots,
            valid=slots < b * s,
            supervised=torch.tensor(counts.supervised),
            counts=counts,
            rows=(starts // s).tolist(),
            shape=(b, s),
        )

    def to(self, device: torch.device) -> Sequences:
        """The same elsewhere."""
        return replace(
            self,
            slots=_sent(self.slots, device),
            valid=_sent(self.valid, device),
            supervised=_sent(self.supervised, device),
        )

    def apart(self, tokens: Tensor) -> Tensor:
        """Give each sequence a row of its own: [b, s, ...] to [n, l, ...]; what fills up is any."""
        flat = tokens.flatten(0, 1)
        return flat[self.slots.clamp(max=len(flat) - 1)]

    def together(self, tokens: Tensor) -> Tensor:
        """The way back: [n, l] to [b, s]; padding gets zeros."""
        b, s = self.shape
        flat = tokens.new_zeros(b * s + 1)
        return flat.scatter(0, self.slots.flatten(), tokens.flatten())[:-1].view(b, s)


def read_instances(
    valid: Bool[Tensor, "b s"],
    supervised: Bool[Tensor, "b s"],
    positions: Int[Tensor, "b s"] | None,
) -> tuple[Counts, Sequences | None]:
    """Count, and find sequences that lie one behind another; the host waits for the device once.

    Args:
        valid: Tokens that are not padding.
        supervised: Rows that have a target.
        positions: Where a token stands in its sequence, if that is given.

    Returns:
        What the host must know of the rows; the sequences in them, None where each row is one.
    """
    if positions is None or is_fake(valid):
        return Counts.read(valid, supervised), None
    begun = torch.zeros_like(valid)
    begun[:, 1:] = (positions.diff(dim=1) != 1) & valid[:, 1:] & valid[:, :-1]
    on_host = torch.stack([valid, supervised, begun]).cpu()
    counts = Counts.read(on_host[0], on_host[1])
    if not on_host[2].any():
        return counts, None
    return counts, Sequences.find(*on_host).to(valid.device)


def _sent(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor elsewhere; the host does not wait until it is there."""
    pinned = device.type == "cuda" and tensor.device.type == "cpu"
    return (tensor.pin_memory() if pinned else tensor).to(device, non_blocking=pinned)
