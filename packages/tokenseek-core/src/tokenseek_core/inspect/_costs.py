"""Step costs as a table."""

from __future__ import annotations

from collections.abc import Sequence

from tokenseek_common.memory import format_bytes
from tokenseek_core.inspect._compare import StepCost


def cost_table(costs: Sequence[StepCost]) -> tuple[list[str], list[list[str]]]:
    """Headings and rows: each figure, and its share of the first method's."""
    first = costs[0]

    def share(ours: float, theirs: float) -> str:
        return f"{ours / theirs:.0%}"

    rows = [
        [
            cost.method,
            f"{format_bytes(cost.saved_bytes)} ({share(cost.saved_bytes, first.saved_bytes)})",
            f"{format_bytes(cost.working_bytes)} "
            f"({share(cost.working_bytes, first.working_bytes)})",
            f"{format_bytes(cost.memory.peak)}",
            f"{cost.seconds:.2f} s ({share(cost.seconds, first.seconds)})",
        ]
        for cost in costs
    ]
    return ["step", "saved for backward", "working memory", "peak with weights", "time"], rows
