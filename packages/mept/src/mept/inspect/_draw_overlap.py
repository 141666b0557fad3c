"""The overlap of activated units as heat maps."""

from __future__ import annotations

from mept.inspect._figures import HEAT, panels, shown_groups
from mept.inspect._matplotlib import Figure
from mept.inspect._report import RoutingReport


def draw_overlap(report: RoutingReport) -> Figure:
    """Draw how far groups activate the same units of the feed-forward, layer by layer.

    Args:
        report: Of `routing_report`.

    Returns:
        A panel for each layer, with the groups in rows and columns; of more than eight groups, the
        largest.

    Raises:
        InputError: Matplotlib is not installed.
    """
    shown = shown_groups(report)
    places, names = list(shown), [style.label for style in shown.values()]
    side = 0.9 + 0.34 * len(places)
    longest = max(map(len, names))
    figure, axes = panels(
        len(report.layers), columns=4, width=side, height=side, margin=1.0 + 0.09 * longest
    )
    for panel, layer, overlap in zip(axes, report.layers, report.overlap, strict=True):
        values = (100 * overlap[places][:, places]).numpy()  # [g, g]
        picture = panel.imshow(values, cmap=HEAT, vmin=0, vmax=100)
        panel.set_title(f"layer {layer}")
        panel.set_xticks(range(len(names)), names, rotation=90)
        panel.set_yticks(range(len(names)), names)
        for row, line in enumerate(values.tolist()):
            for column, value in enumerate(line):
                text, colour = f"{value:.0f}", "black" if value > 50 else "white"
                panel.text(column, row, text, ha="center", va="center", color=colour, fontsize=8)
        panel.label_outer()
    figure.colorbar(picture, ax=axes, label="overlap, %", aspect=30)
    figure.suptitle("Overlap of activated feed-forward units")
    return figure
