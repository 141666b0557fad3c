"""The rows that a step replays, Eq. (1) and (2).

Shapes: `b` batch, `n` all rows, `k` replayed rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Int
from torch import Tensor

from tokenseek_common._errors import InputError


@dataclass(frozen=True)
class RowSelection:
    """Which rows of a batch carry gradient; those of the others are constants, from the record.

    Example:
        >>> import torch
        >>> tokens = RowSelection.of(torch.tensor([[False, True, False, True]]))
        >>> tokens.slots.tolist(), tokens.with_prepended(2).slots.tolist()
        ([[1, 3]], [[0, 1, 3, 5]])
    """

    slots: Int[Tensor, "b k"]
    """Where the replayed rows stand among all rows; ascending, distinct within an instance."""
    active: Bool[Tensor, "b k"]
    """False for surplus rows, which fill up instances that keep fewer than others: constants."""
    length: int
    """All rows of an instance, n: those in front too, and padding."""
    prepended: int = 0
    """Rows that an adapter put in front, the first slots of all; they always carry gradient."""
    routing: Mapping[str, object] = field(default_factory=dict)
    """What adapters chose in pass one, by the name of the layer; only they know what it is."""

    @classmethod
    def of(cls, selected: Bool[Tensor, "b n"]) -> RowSelection:
        """Replay the rows of a mask, and as many of each instance as the longest selection has."""
        k = max(1, int(selected.sum(1).max()))
        # Stable, so that selected rows come first, and surplus rows are the first of the others.
        first = selected.int().argsort(dim=1, descending=True, stable=True)[:, :k]
        slots = first.sort(dim=1).values
        return cls(slots, selected.gather(1, slots), selected.shape[1])

    @property
    def selected(self) -> Bool[Tensor, "b n"]:
        """Which of all rows carry gradient, S; the others are read as they were recorded."""
        rows = torch.zeros(
            (len(self.slots), self.length), dtype=torch.bool, device=self.slots.device
        )
        return rows.scatter(1, self.slots, self.active)

    def with_prepended(self, count: int) -> RowSelection:
        """Put rows of an adapter in front of the tokens, and keep them in every instance, Eq. (2).

        Args:
            count: How many.

        Returns:
            The selection among prepended rows and tokens, with the same routing.

        Raises:
            InputError: There are such rows already, or fewer than none are asked for.
        """
        if count < 0:
            raise InputError(f"count ({count}) must be at least 0; 0 is none")
        if self.prepended:
            raise InputError(
                f"prepended ({self.prepended}) must be 0 before rows are put in front, they stand "
                "there once; extend the selection of the tokens"
            )
        front = torch.arange(count, device=self.slots.device).expand(len(self.slots), -1)
        return replace(
            self,
            slots=torch.cat([front, self.slots + count], dim=1),
            active=F.pad(self.active, (count, 0), value=True),
            length=self.length + count,
            prepended=count,
        )

    def rows(self, tensor: Tensor) -> Tensor:
        """Gather the replayed rows: positions, masks, tokens; [b, n, ...] to [b, k, ...].

        Raises:
            InputError: It has not one entry for each of all rows.
        """
        if tensor.shape[1] != self.length:
            raise InputError(
                f"tensor ({tensor.shape[1]} rows) must have all {self.length} rows, those in front "
                "and padding too; give it before any are taken"
            )
        return torch.take_along_dim(tensor, self._index(tensor), dim=1)

    def merged(self, recorded: Tensor, live: Tensor) -> Tensor:
        """Put replayed rows among recorded ones: x~ of Eq. (1), [b, n, ...].

        Args:
            recorded: All rows, as pass one left them, [b, n, ...].
            live: The replayed rows, [b, k, ...]; surplus ones are left out.
        """
        index = self._index(live)
        constants = recorded.detach()
        active = self.active.reshape(index.shape)
        rows = torch.where(active, live, self.rows(constants))
        return constants.scatter(1, index.expand_as(live), rows)

    def routing_of(self, layer: str) -> object:
        """What the adapter chose in a layer in pass one.

        Raises:
            InputError: It kept nothing there.
        """
        if layer not in self.routing:
            raise InputError(
                f"layer ({layer}) must be one that was routed in the recorded pass, as were "
                f"{', '.join(self.routing) or 'none'}; record the model that is replayed"
            )
        return self.routing[layer]

    def _index(self, tensor: Tensor) -> Tensor:
        """The slots, with as many axes as a tensor of rows."""
        return self.slots.reshape(self.slots.shape + (1,) * (tensor.ndim - 2))
