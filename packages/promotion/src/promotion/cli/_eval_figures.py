"""How far a model is from the truth, beside what takes no model at all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch

from promotion._motion import Motion
from promotion.cli._eval_samples import Case
from promotion.metrics import Alignment, DepthAccumulator, FlowAccumulator
from promotion.metrics._protocol import DepthProtocol
from tokenseek_common import InputError

Rows = tuple[tuple[str, str, int], ...]
"""What a table calls a metric, the metric, and by what it is multiplied there."""

Figures = dict[str, dict[str, Any] | None]
"""By what was measured (`flow`, `zero_flow`, `depth`, `constant_depth`) and by metric."""

FLOW_ROWS: Rows = (
    ("endpoint error, pixels", "epe", 1),
    ("the same, mean over images", "epe_per_image", 1),
    ("above 1 pixel, %", "outliers_1px", 100),
    ("above 3 pixels, %", "outliers_3px", 100),
    ("above 5 pixels, %", "outliers_5px", 100),
    ("Fl-all, %", "fl_all", 100),
    ("endpoint error, motion below 10", "epe_s0_10", 1),
    ("endpoint error, motion 10 to 40", "epe_s10_40", 1),
    ("endpoint error, motion above 40", "epe_s40_plus", 1),
    ("endpoint error, visible", "epe_visible", 1),
    ("endpoint error, occluded", "epe_occluded", 1),
    ("Fl, visible, %", "fl_visible", 100),
    ("Fl, occluded, %", "fl_occluded", 100),
    ("pairs", "images", 1),
    ("pixels", "pixels", 1),
)
DEPTH_ROWS: Rows = (
    ("Abs Rel", "abs_rel", 1),
    ("Sq Rel, m", "sq_rel", 1),
    ("RMSE, m", "rmse", 1),
    ("RMSE log", "rmse_log", 1),
    ("log10", "log10", 1),
    ("SILog", "silog", 1),
    ("delta < 1.25, %", "delta1", 100),
    ("delta < 1.25^2, %", "delta2", 100),
    ("delta < 1.25^3, %", "delta3", 100),
    ("frames", "images", 1),
    ("pixels", "pixels", 1),
)


@dataclass(frozen=True)
class Comparison:
    """Errors of a model, of no motion, and of a depth that is the same everywhere."""

    flow: FlowAccumulator
    zero_flow: FlowAccumulator
    depth: DepthAccumulator
    constant_depth: DepthAccumulator

    @classmethod
    def by(cls, protocol: DepthProtocol) -> Comparison:
        """Nothing measured yet.

        Args:
            protocol: How depth is measured. The constant is always fitted to each truth, by
                medians where the model is not: there is no other constant to take.
        """
        options = asdict(protocol)
        fitted = Alignment.MEDIAN if protocol.alignment is Alignment.RAW else protocol.alignment
        return cls(
            FlowAccumulator(),
            FlowAccumulator(),
            DepthAccumulator(**options),
            DepthAccumulator(**{**options, "alignment": fitted}),
        )

    def update(self, case: Case, motion: Motion) -> None:
        """Take in what was found in a sample."""
        sample = case.sample
        if motion.flow is not None:
            truth = (sample.flow, sample.flow_valid, case.occlusion)
            self.flow.update(motion.flow, *truth)
            self.zero_flow.update(torch.zeros_like(sample.flow), *truth)
        self.depth.update(motion.depth, sample.depth, sample.depth_valid)
        same = torch.ones_like(sample.depth)
        self.constant_depth.update(same, sample.depth, sample.depth_valid)

    def merge(self, other: Comparison) -> None:
        """Take in what another comparison has counted."""
        self.flow.merge(other.flow)
        self.zero_flow.merge(other.zero_flow)
        self.depth.merge(other.depth)
        self.constant_depth.merge(other.constant_depth)

    def figures(self) -> Figures:
        """The figures so far, None of what has no truth."""
        return {
            "flow": _computed(self.flow),
            "zero_flow": _computed(self.zero_flow),
            "depth": _computed(self.depth),
            "constant_depth": _computed(self.constant_depth),
        }


def _computed(accumulator: FlowAccumulator | DepthAccumulator) -> dict[str, Any] | None:
    try:
        return asdict(accumulator.compute())
    except InputError:  # there was no pixel to measure at
        return None


def table(rows: Rows, model: Mapping[str, Any], other: Mapping[str, Any]) -> list[list[object]]:
    """The lines of a table, without the metrics that no pixel belongs to."""
    return [
        [label, factor * model[name], factor * other[name]]
        for label, name, factor in rows
        if model[name] is not None
    ]


def flat(figures: Figures) -> dict[str, float | str]:
    """One line of a spreadsheet: the metrics in columns, empty where there is no truth."""
    metrics = {"flow": FLOW_ROWS, "zero_flow": FLOW_ROWS}
    metrics |= {"depth": DEPTH_ROWS, "constant_depth": DEPTH_ROWS}
    line: dict[str, float | str] = {}
    for group, rows in metrics.items():
        found = figures[group] or {}
        for _, name, _ in rows:
            value = found.get(name)
            line[f"{group}_{name}"] = "" if value is None else value
    return line
