"""The ways of the samples through the experts, as ribbons from layer to layer."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from mept.inspect._figures import all_groups, panels
from mept.inspect._matplotlib import Axes, Figure, Outline
from mept.inspect._report import RoutingReport

_HALF = 0.09  # of the width of an expert's bar; layers are 1 apart
_LOWEST = 0.055  # height of a bar that a number fits into
_GAPS = 0.25  # height of all gaps of a layer together; all samples are 1


def draw_paths(report: RoutingReport) -> Figure:
    """Draw how many samples of each group go from each expert to each of the next layer.

    Args:
        report: Of `routing_report`.

    Returns:
        A column for each layer, with a bar for each expert as high as the share of the samples
        whose best expert it is, and ribbons between the bars.

    Raises:
        InputError: Matplotlib is not installed.
    """
    count = len(report.layers)
    figure, (panel,) = panels(1, columns=1, width=min(1.3 * count, 24.0), height=4.6)
    shares = _best_shares(report)  # [l, e]
    tops = _tops(shares)
    for place, layer_tops in enumerate(tops):
        _draw_bars(panel, place, shares[place], layer_tops)
    _draw_ribbons(panel, report, tops)

    panel.set_xticks(range(count), [str(layer) for layer in report.layers])
    panel.set(
        xlabel="layer, with a bar for each expert",
        xlim=(-0.3, count - 0.7),
        ylim=(-1 - _GAPS - 0.02, 0.02),
        yticks=[],
    )
    panel.spines[:].set_visible(False)
    panel.tick_params(length=0)
    frequent, taken = next(iter(report.paths.items()))
    figure.suptitle(
        f"Paths of {sum(report.sizes.values())} samples through the experts\n"
        f"different ones: {len(report.paths)}, "
        f"most frequent: {'-'.join(map(str, frequent))} ({taken} samples)"
    )
    return figure


def _best_shares(report: RoutingReport) -> Float[Tensor, "l e"]:
    """The share of the samples whose best expert each one is."""
    counts = torch.zeros(report.load.shape)
    for path, count in report.paths.items():
        counts[torch.arange(len(path)), list(path)] += count
    return counts / sum(report.sizes.values())


def _tops(shares: Float[Tensor, "l e"]) -> Float[Tensor, "l e"]:
    """Where the bar of each expert begins: one below the other, with gaps between."""
    experts = shares.shape[1]
    gaps = torch.arange(experts) * _GAPS / max(1, experts - 1)
    return shares - shares.cumsum(1) - gaps


def _draw_bars(
    panel: Axes, place: int, shares: Float[Tensor, " e"], tops: Float[Tensor, " e"]
) -> None:
    """The experts of a layer; one that is nobody's best has none."""
    for expert, (share, top) in enumerate(zip(shares.tolist(), tops.tolist(), strict=True)):
        if share:
            panel.bar(place, -share, width=2 * _HALF, bottom=top, color="#333333")
        if share >= _LOWEST:
            panel.text(place, top - share / 2, str(expert), ha="center", va="center", color="white")
        elif share:  # beside the bar, where a small figure fits
            left, middle = place - _HALF - 0.02, top - share / 2
            panel.text(left, middle, str(expert), ha="right", va="center", size="x-small")


def _draw_ribbons(panel: Axes, report: RoutingReport, tops: Float[Tensor, "l e"]) -> None:
    """The samples between two layers, ordered by where they go, where they come from and group."""
    from matplotlib.patches import Patch, PathPatch

    styles = all_groups(report)
    samples = sum(report.sizes.values())
    handles = {}
    for place in range(len(report.layers) - 1):
        leaving, entering = tops[place].tolist(), tops[place + 1].tolist()
        steps = report.transitions[:, place].permute(1, 2, 0)  # [e, e, g]
        for source, target, group in steps.nonzero().tolist():
            height, style = float(steps[source, target, group]) / samples, styles[group]
            ribbon = _ribbon(place, leaving[source], entering[target], height)
            panel.add_patch(PathPatch(ribbon, facecolor=style.colour, alpha=0.65, linewidth=0))
            handles[group] = Patch(facecolor=style.colour, alpha=0.65, label=style.label)
            leaving[source] -= height
            entering[target] -= height
    if len(report.sizes) > 1 and handles:
        labelled = {styles[g].label: handles[g] for g in styles if g in handles}
        panel.figure.legend(
            handles=list(labelled.values()), loc="outside lower center", ncols=4, frameon=False
        )


def _ribbon(place: int, leaving: float, entering: float, height: float) -> Outline:
    """A band from the right edge of one bar to the left edge of one of the next layer."""
    from matplotlib.path import Path

    left, right = place + _HALF, place + 1 - _HALF
    middle = (left + right) / 2
    corners = [
        *[(left, leaving), (middle, leaving), (middle, entering), (right, entering)],
        (right, entering - height),
        *[(middle, entering - height), (middle, leaving - height), (left, leaving - height)],
        (left, leaving),
    ]
    curve = [Path.CURVE4] * 3
    return Path(corners, [Path.MOVETO, *curve, Path.LINETO, *curve, Path.CLOSEPOLY])
