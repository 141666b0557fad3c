"""What the routers see, as points in two dimensions."""

from __future__ import annotations

import math

from mept.inspect._figures import all_groups, panels
from mept.inspect._matplotlib import Figure
from mept.inspect._report import RoutingReport


def draw_projection(report: RoutingReport) -> Figure:
    """Draw the pooled states of all samples on their two principal components, layer by layer.

    Args:
        report: Of `routing_report`.

    Returns:
        A panel for each layer, with its silhouette where there are several groups.

    Raises:
        InputError: Matplotlib is not installed.
    """
    figure, axes = panels(len(report.layers), columns=3, width=3.2, height=3.0)
    styles = all_groups(report)
    handles = {}
    for place, (panel, layer) in enumerate(zip(axes, report.layers, strict=True)):
        for group, style in reversed(styles.items()):  # the first lies on top
            x, y = report.projection[place][report.groups == group].T.numpy()
            handles[style.label] = panel.scatter(
                *(x, y), s=14, c=style.colour, marker=style.marker, alpha=0.7, linewidths=0
            )
        first, second = report.explained[place].tolist()
        panel.set(
            xlabel=f"first, {first:.0%}", ylabel=f"second, {second:.0%}", xticks=[], yticks=[]
        )
        far = round(float(report.silhouette[place]), 2) + 0.0  # not -0
        panel.set_title(f"layer {layer}" + ("" if math.isnan(far) else f", silhouette {far:.2f}"))
    names = list(reversed(handles))
    figure.legend(
        [handles[name] for name in names],
        names,
        loc="outside lower center",
        ncols=4,
        markerscale=1.6,
        frameon=False,
    )
    figure.suptitle("What the routers see, on its two principal components")
    return figure
