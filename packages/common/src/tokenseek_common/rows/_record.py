"""What pass one keeps for adapters until pass two."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class RowRecord:
    """What adapters did in pass one; those in front of the model write it while that pass runs."""

    prepended: int = 0
    """Rows that an adapter put in front of the tokens."""
    routing: dict[str, object] = field(default_factory=dict)
    """What adapters chose, by the name of the layer; only they know what it is."""
