"""The load as heat maps."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from mept.inspect._figures import HEAT, panels, shown_groups
from mept.inspect._matplotlib import Axes, Figure
from mept.inspect._report import RoutingReport

_MOST_NUMBERS = 8  # experts of a layer; more would not fit into the cells


def draw_load(report: RoutingReport) -> Figure:
    """Draw which share of the choices fell on each expert, of all samples and of each group.

    Args:
        report: Of `routing_report`.

    Returns:
        A panel for all, and one for each group if there are several; of more than eight groups, the
        largest.

    Raises:
        InputError: Matplotlib is not installed.
    """
    loads = [(f"all, {sum(report.sizes.values())} samples", report.load)]
    if len(report.sizes) > 1:
        sizes = list(report.sizes.values())
        loads += [
            (f"{style.label}, {sizes[place]}", report.group_load[place])
            for place, style in shown_groups(report).items()
        ]
    highest = max(float(load.max()) for _, load in loads)
    layers, experts = report.load.shape
    figure, axes = panels(
        len(loads), columns=4, width=1.2 + 0.45 * min(experts, 8), height=1.2 + 0.3 * layers
    )
    for panel, (title, load) in zip(axes, loads, strict=True):
        values = (100 * load).numpy()
        picture = panel.imshow(values, cmap=HEAT, vmin=0, vmax=100 * highest, aspect="auto")
        panel.set(title=title, xlabel="expert", ylabel="layer")
        panel.set_yticks(range(layers), [str(layer) for layer in report.layers])
        if experts <= _MOST_NUMBERS:
            panel.set_xticks(range(experts))
            _write_numbers(panel, load, highest)
        panel.label_outer()
    figure.colorbar(picture, ax=axes, label="% of choices", aspect=30)
    figure.suptitle("Load of the experts")
    return figure


def _write_numbers(panel: Axes, load: Float[Tensor, "l e"], highest: float) -> None:
    """Per cent into the cells, nothing where nobody was given the expert."""
    for layer, shares in enumerate(load.tolist()):
        for expert, share in enumerate(shares):
            text = f"{100 * share:.0f}" if share >= 0.005 else "<1"
            colour = "black" if share > 0.5 * highest else "white"
            if share:
                panel.text(expert, layer, text, ha="center", va="center", color=colour, fontsize=8)
