"""`mept inspect`: see how an adapter routes samples of its tasks, or of others like them."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from mept.cli._adapter_options import AdapterOptions
from mept.inspect import (
    RoutingReport,
    draw_load,
    draw_overlap,
    draw_paths,
    draw_projection,
    routing_report,
)
from mept.inspect._figures import png, require_matplotlib
from mept.training._quiet import libraries_quiet
from mept.training._recorded import record_samples
from mept.training._saved import read_adapter, write_json
from mept.training._sources import load_scored
from tokenseek_common.cli import Console, check_folder, first_device, fresh_folder, on_unless
from tokenseek_common.data import TaskSample

PICTURES = {"load.png": draw_load, "paths.png": draw_paths, "pca.png": draw_projection}
COMPARING = {"overlap.png": draw_overlap}
"""Those that show nothing of a single group."""

_MOST_PATHS = 5  # of the table; the file has all


@dataclass(frozen=True, kw_only=True)
class Inspect(AdapterOptions):
    """See which experts an adapter of `mept train` routes samples to.

    Of several tasks, the tasks are told apart; of a single one, its labels. The folder that
    --output names, or a new mept-inspect-001, receives inspect.json and pictures of the load, the
    paths through the experts, what the routers see, and the overlap of activated units.
    """

    limit: int | None = 256
    """Draw at most this many samples of each task, at random."""

    pictures: Annotated[bool, on_unless("Draw no pictures; then matplotlib is not needed.")] = True
    """Draw the pictures."""

    def run(self, console: Console) -> None:
        """Load, record, show."""
        begin = time.perf_counter()
        check_folder(self.output)
        if self.pictures:
            require_matplotlib()
        device = first_device(self.device)
        saved = read_adapter(self.adapter)
        read = {
            source.task.name: load_scored(source, None, split=self.split, limit=None)
            for source in self.sources(saved)
        }
        samples = [sample for found in read.values() for sample in self._drawn(found.samples)]
        kind, groups = told_apart(samples)
        with libraries_quiet(console):
            opened = self.open(saved, device, console)
            record = record_samples(
                opened.form,
                opened.model,
                samples,
                groups,
                batch_size=self.batch_size,
                console=console,
            )
        report = routing_report(record)
        drawn = PICTURES | (COMPARING if len(report.sizes) > 1 else {}) if self.pictures else {}
        pictures = {name: png(draw(report)) for name, draw in drawn.items()}
        result = {
            "adapter": str(saved.folder),
            "model": opened.base,
            "form": saved.asked.form,
            "samples_of": {name: found.part for name, found in read.items()},
            "grouped_by": kind,
            **report.summary,
            "seconds": time.perf_counter() - begin,
        }
        folder = fresh_folder(self.output, default="mept-inspect")
        write_json(folder / "inspect.json", result)
        for name, picture in pictures.items():
            (folder / name).write_bytes(picture)
        _tell(report, kind, console)
        beside = f", with {', '.join(pictures)}" if pictures else ""
        console.print(f"report: {folder / 'inspect.json'}{beside}")
        console.result(result | {"output": folder})

    def _drawn(self, samples: list[TaskSample]) -> list[TaskSample]:
        """Some of the samples, in their order; a file may begin with one label alone."""
        if self.limit is None or len(samples) <= self.limit:
            return samples
        places = random.Random(self.seed).sample(range(len(samples)), self.limit)
        return [samples[place] for place in sorted(places)]


def told_apart(samples: Sequence[TaskSample]) -> tuple[str, list[str]]:
    """What tells samples apart, and the group of each: its task, or its label if all have one task.

    Candidates that every sample brings along are no labels, and those of words are not the text's.
    """
    tasks = {sample.task.name for sample in samples}
    if len(tasks) > 1 or not samples[0].task.labels or samples[0].task.layout == "words":
        return "task", [sample.task.name for sample in samples]
    return "label", [sample.target or "" for sample in samples]


def _tell(report: RoutingReport, kind: str, console: Console) -> None:
    """Print what each layer does, and the paths that are taken most."""
    console.table(
        f"Routing of {', '.join(f'{name} ({size})' for name, size in report.sizes.items())}",
        [
            *("layer", "load of the experts, %", "dead", "evenness of load", "of routers"),
            *(f"I({kind}; expert), nats", "silhouette", "nearest centroid"),
        ],
        [
            [
                layer,
                " ".join(f"{100 * share:.0f}" for share in report.load[place].tolist()),
                len(report.dead[place]),
                *[
                    float(figure[place])
                    for figure in (
                        report.load_evenness,
                        report.router_evenness,
                        report.mutual_information,
                        report.silhouette,
                        report.centroid_accuracy,
                    )
                ],
            ]
            for place, layer in enumerate(report.layers)
        ],
    )
    samples = sum(report.sizes.values())
    console.table(
        f"The most frequent of {len(report.paths)} paths through the experts",
        ["path", "samples", "share"],
        [
            ["-".join(map(str, path)), count, count / samples]
            for path, count in list(report.paths.items())[:_MOST_PATHS]
        ],
    )
