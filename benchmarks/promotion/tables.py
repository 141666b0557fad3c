"""The tables of README, model card and pages about motion, made from the recorded figures."""

from __future__ import annotations

import statistics
from typing import Any

from ablation import table as ablation_table
from records import (
    CONSTANT,
    COST_SIZES,
    EXPORT_SIZES,
    INFER_LENGTHS,
    METHODS,
    OURS,
    PREDICT_CALLS,
    PREDICT_SIZES,
    RAMP,
    REAL_SIZES,
    RESULTS,
    RIVALS_OF_COST,
    read,
    size_name,
)
from samples import DEPTH_PAIRS, FLOW_PAIRS, ROOT, SIZES

README = ROOT / "packages/promotion/README.md"
FIGURES = ROOT / "docs/motion-figures.md"
BESIDE = ROOT / "docs/beside.md"
EXPORT = ROOT / "docs/export.md"
PROTOTYPES = ROOT / "docs/prototypes.md"
SEQUENCES = ROOT / "docs/sequences.md"
CARD = ROOT / "packages/promotion/src/promotion/weights/README.md"
PAGES = README, FIGURES, BESIDE, CARD, EXPORT, PROTOTYPES, SEQUENCES


def recorded(name: str, measured: str) -> dict[str, float]:
    """A cell's figures by method."""
    figures: dict[str, float] = read(RESULTS / "accuracy" / f"{name}.json")[measured]
    return figures


def row(label: str, figures: dict[str, float], methods: tuple[str, ...]) -> str:
    """One line, the best figure in bold."""
    best = min(figures[method] for method in methods)
    cells = (figures[method] for method in methods)
    shown = (f"**{cell:.2f}**" if cell == best else f"{cell:.2f}" for cell in cells)
    return f"| {label} | {' | '.join(shown)} |"


def head(first: str, methods: tuple[str, ...]) -> list[str]:
    """The first two lines of a table."""
    return [f"| {first} | {' | '.join(methods)} |", "|---" * (1 + len(methods)) + "|"]


def mean(all_figures: list[dict[str, float]]) -> dict[str, float]:
    """The mean of each method's figure."""
    return {m: statistics.fmean(figures[m] for figures in all_figures) for m in all_figures[0]}


def flow_table() -> str:
    """Endpoint errors on held-out scenes, and the means over real pairs."""
    lines = head("endpoint error, pixels", METHODS)
    for height, width in SIZES:
        name = f"scenes-{height}x{width}"
        lines.append(row(f"held-out scenes {height} x {width}", recorded(name, "epe"), METHODS))
    label = "median, held-out scenes 192 x 256, visible"
    lines.append(row(label, recorded("scenes-192x256", "median_visible"), METHODS))
    for size in REAL_SIZES:
        cells = [recorded(f"{pair.name}-{size_name(size)}", "epe") for pair in FLOW_PAIRS]
        lines.append(
            row(f"mean of {len(cells)} real pairs, {size_name(size)}", mean(cells), METHODS)
        )
    return "\n".join(lines)


def pairs_table() -> str:
    """Endpoint errors pair by pair."""
    lines = head("endpoint error, pixels", METHODS)
    for pair in FLOW_PAIRS:
        for size in REAL_SIZES:
            name = f"{pair.name}-{size_name(size)}"
            label = f"{pair.name}, {size_name(size)}"
            lines.append(row(label, recorded(name, "epe"), METHODS))
    return "\n".join(lines)


def depth_table() -> str:
    """Abs Rel by median alignment."""
    methods = (OURS, CONSTANT, RAMP)
    lines = head("Abs Rel, median alignment", methods)
    for height, width in SIZES:
        figures = recorded(f"scenes-{height}x{width}", "abs_rel")
        lines.append(row(f"held-out scenes {height} x {width}", figures, methods))
    for pair in DEPTH_PAIRS:
        figures = recorded(f"{pair.name}-full", "abs_rel")
        lines.append(row(f"{pair.name}, full", figures, methods))
    return "\n".join(lines)


def costs_table() -> str:
    """Processor seconds and memory of a pair, by size."""
    methods = ("tiny", "tiny, with depth", *RIVALS_OF_COST)
    lines = head("seconds and MiB of a pair", methods)
    for height, width in COST_SIZES:
        record = read(RESULTS / "costs" / f"{height}x{width}.json")
        cells = [cost(record, name) for name in methods]
        lines.append(f"| {height} x {width} | {' | '.join(cells)} |")
    return "\n".join(lines)


def predict_costs_table() -> str:
    """Processor seconds and memory of what users call, beside DIS and raft_small."""
    sizes = [f"{height} x {width}" for height, width in PREDICT_SIZES]
    lines = [f"| seconds, MiB | {' | '.join(sizes)} |", "|---" * (1 + len(sizes)) + "|"]
    folder = RESULTS / "predict_costs"
    records = [read(folder / f"{height}x{width}.json") for height, width in PREDICT_SIZES]
    for name in PREDICT_CALLS:
        cells = (record.get(name) for record in records)
        shown = (
            f"{cell['seconds']:.2g} s, {cell['bytes'] / 2**20:.0f}" if cell else "-"
            for cell in cells
        )
        lines.append(f"| {name} | {' | '.join(shown)} |")
    return "\n".join(lines)


def cost(record: dict[str, Any], name: str) -> str:
    """What one model takes for a pair of one size, as far as it was measured."""
    seconds, grown = (record[measured].get(name) for measured in ("seconds", "grown_bytes"))
    shown = [] if seconds is None else [f"{seconds:.2g} s"]
    shown += [] if grown is None else [f"{grown / 2**20:.0f} MiB"]
    return ", ".join(shown) or "-"


def export_table() -> str:
    """Processor seconds of a view by what runs the model, and the flow's largest difference."""
    lines: list[str] = []
    for height, width in EXPORT_SIZES:
        record = read(RESULTS / "export" / f"{height}x{width}.json")
        if not lines:
            names = list(record["seconds"])
            lines = head("seconds (largest difference, px)", tuple(names))
        cells = [
            f"{record['seconds'][name]:.2g} s ({record['largest_difference_px'][name]:.1g})"
            for name in names
        ]
        lines.append(f"| {height} x {width} | {' | '.join(cells)} |")
    return "\n".join(lines)


def infer_lengths_table() -> str:
    """Peak memory and processor seconds of the command, by the length of a video."""
    lengths = [f"{length} frames" for length in INFER_LENGTHS]
    lines = [f"| `promotion infer` to | {' | '.join(lengths)} |", "|---" * (1 + len(lengths)) + "|"]
    for way, runs in read(RESULTS / "infer_lengths.json")["runs"].items():
        cells = [
            f"{runs[str(length)]['peak_bytes'] / 2**20:.0f} MiB, "
            f"{runs[str(length)]['seconds']:.0f} s"
            for length in INFER_LENGTHS
        ]
        lines.append(f"| {way} | {' | '.join(cells)} |")
    return "\n".join(lines)


def downstream_table() -> str:
    """What tracks, frames in between and a steady camera are worth."""
    record = read(RESULTS / "downstream.json")
    tracks, between, steady = (record[k] for k in ("tracks", "interpolation", "stabilization"))
    small, large = (steady[f"removed_of_{pixels}_px"] for pixels in ("1.5", "3"))
    rows = {
        f"points after {tracks['frames']} frames, off their place": (
            f"median {tracks['median_error_px']:.2f} px, mean {tracks['mean_error_px']:.2f} px, "
            f"{tracks['below_1_px']:.0%} below 1 px (they move {tracks['mean_motion_px']:.1f} px)"
        ),
        "of the points that all frames show, kept": f"{tracks['visible_points_kept']:.0%}",
        "of the points kept, shown by all frames": f"{tracks['kept_points_visible']:.0%}",
        "the middle of two frames": (
            f"PSNR {between['psnr_db']:.1f} dB, {between['gain_db']:.1f} dB above the mean of both "
            f"(in the worst scene {between['least_gain_db']:.1f})"
        ),
        "a camera's shake of 1.5 and 3 px that is removed": f"{small:.0%} and {large:.0%}",
    }
    lines = [f"| {name} | {found} |" for name, found in rows.items()]
    return "\n".join(["| on generated scenes, 96 x 128 | |", "|---|---|", *lines])


def tiles_table() -> str:
    """Flow of large pictures by views of several sizes, and by tiles."""
    record = read(RESULTS / "tiles.json")
    height, width = record["size"]
    lines = [f"| generated scenes {height} x {width} | endpoint error | seconds |", "|---|---|---|"]
    for name, found in record["flow"].items():
        lines.append(f"| {name} | {found['epe']:.2f} px | {found['seconds']:.2g} s |")
    return "\n".join(lines)


def finetune_table() -> str:
    """Endpoint errors of the pairs before and after they were trained on."""
    record = read(RESULTS / "finetune.json")
    lines = ["| endpoint error, pixels | before | after |", "|---|---|---|"]
    for name, before in record["before"].items():
        lines.append(f"| {name} | {before:.2f} | {record['after'][name]:.2f} |")
    return "\n".join(lines)


def prototypes_table() -> str:
    """How far cells are grouped as the true segments of rigid motion are."""
    lines = ["| labels of cells | neighbours agree | adjusted Rand index |", "|---|---|---|"]
    for name, figures in read(RESULTS / "prototypes.json")["segments"].items():
        agree, index = figures["neighbours_agree"], figures["rand_index"]
        lines.append(f"| {name} | {agree:.0%} | {index:.2f} |")
    return "\n".join(lines)


def prototypes_figures() -> str:
    """The other figures of the prototypes, in words."""
    record = read(RESULTS / "prototypes.json")
    errors, overlaps = record["epe"], record["moves_itself_iou"]
    gates = " and ".join(f"{gate:.2f}" for gate in record["gates"])
    lines = (
        f"Entropy of their usage, as a share of the largest: {record['usage_entropy']:.2f}",
        f"Gates, of which each began at 0: {gates}",
        f"Endpoint error of `predict`: {errors['with prototypes']:.2f} pixels; where prototypes "
        f"hand nothing back: {errors['handing nothing back']:.2f}",
        "What moves by itself, told by epipolar lines, intersection over union: "
        f"{overlaps['found flow']:.2f} of the flow found, {overlaps['true flow']:.2f} of the true",
    )
    return "\n".join(f"- {line}" for line in lines)


def with_tables(text: str) -> str:
    """A page with all tables that it has marks for."""
    makers = {
        "flow": flow_table,
        "pairs": pairs_table,
        "depth": depth_table,
        "costs": costs_table,
        "predict-costs": predict_costs_table,
        "export": export_table,
        "infer-lengths": infer_lengths_table,
        "downstream": downstream_table,
        "tiles": tiles_table,
        "finetune": finetune_table,
        "ablation": ablation_table,
        "prototypes": prototypes_table,
        "prototypes-figures": prototypes_figures,
    }
    for name, make in makers.items():
        begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
        if begin in text:
            before, rest = text.split(begin)
            text = f"{before}{begin}\n{make()}\n{end}{rest.split(end)[1]}"
    return text


def write_tables() -> None:
    """Make the tables of all pages anew."""
    for path in PAGES:
        text = with_tables(path.read_text(encoding="utf-8"))
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write_tables()
