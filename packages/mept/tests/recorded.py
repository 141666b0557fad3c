"""Records that no model has made."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from mept import RoutingRecord
from mept._recording import _Decided


def random_record(
    groups: Sequence[str], *, layers: Sequence[int] = (0, 1, 2), experts: int = 4, top_k: int = 1
) -> RoutingRecord:
    """A pass whose decisions are drawn, with a sample for each group that is named."""
    torch.manual_seed(0)
    record = RoutingRecord("default", layers)
    record.group = groups
    decided = []
    for _ in layers:
        probabilities = torch.randn(len(groups), experts).softmax(-1)
        chosen = probabilities.argsort(1, descending=True)[:, :top_k]
        gates = probabilities * torch.zeros_like(probabilities).scatter(1, chosen, 1)
        states, units = torch.randn(len(groups), 5), torch.rand(len(groups), 20)
        decided.append(_Decided(probabilities, chosen, gates, states, units))
    record._add(decided)
    return record
