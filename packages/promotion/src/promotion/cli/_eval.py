"""`promotion eval`: how far flow and depth are from the truth."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from promotion.cli._eval_figures import DEPTH_ROWS, FLOW_ROWS, Comparison, flat, table
from promotion.cli._eval_samples import Case, samples_of, scenes_of
from promotion.cli._model_options import ModelOptions
from promotion.datasets import open_folder
from promotion.datasets._open import LayoutName
from promotion.io._files import replace_file
from promotion.metrics import Alignment, Crop
from promotion.metrics._protocol import DepthProtocol
from promotion.scenes import SceneConfig
from tokenseek_common import InputError, replacing
from tokenseek_common.cli import Console, check_counts, check_folder, fresh_folder

ALIGNMENTS = {
    "raw": Alignment.RAW,
    "median": Alignment.MEDIAN,
    "scale-and-shift": Alignment.SCALE_AND_SHIFT,
}
CROPS = {"none": Crop.NONE, "eigen": Crop.EIGEN, "garg": Crop.GARG}


@dataclass(frozen=True, kw_only=True)
class Eval(ModelOptions):
    """Measure flow and depth where the truth is known.

    Takes a data set or held-out procedural scenes, which no training draws. Errors stand beside
    those of no motion and of a depth that is the same everywhere, fitted to each truth. The folder
    receives metrics.json, with the figures of all samples together and of each, and metrics.csv,
    with a line for each sample.
    """

    dataset: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """A data set in its usual folders: FlyingChairs, FlyingThings3D, Sintel, KITTI 2012 and 2015,
    HD1K, Spring, Virtual KITTI 2, Middlebury (flow, stereo 2014), KITTI depth, TUM, 7-Scenes, NYU,
    or what promotion synth writes."""

    layout: LayoutName | None = None
    """How its files are laid out, where the first fitting layout is not the one that is meant."""

    scenes: int | None = None
    """How many held-out scenes, in place of --dataset."""

    look_of_scenes: SceneConfig = field(default_factory=SceneConfig)
    """What the scenes look like."""

    limit: int | None = None
    """How many samples of the data set at most, from the first on."""

    alignment: Literal["raw", "median", "scale-and-shift"] = "median"
    """What is fitted to the true depth of each sample first; raw counts in metres."""

    crop: Literal["none", "eigen", "garg"] = "none"
    """The part of each frame that depth is measured on; both crops were made for KITTI."""

    max_depth: float = 80
    """True depth from this on is left out, in metres; 80 is usual outdoors, 10 indoors."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.dataset is None) == (self.scenes is None):
            raise InputError(
                f"dataset ({self.dataset}) and scenes ({self.scenes}) must not both be given or "
                "both be absent; choose --dataset FOLDER or --scenes N"
            )
        check_counts({"scenes": self.scenes, "limit": self.limit})
        self._protocol()

    def _protocol(self) -> DepthProtocol:
        return DepthProtocol(
            alignment=ALIGNMENTS[self.alignment],
            crop=CROPS[self.crop],
            min_depth=1e-3,
            max_depth=self.max_depth,
        )

    def run(self, console: Console) -> None:
        """Measure sample by sample, tell and write."""
        check_folder(self.output)
        cases, count = self._cases()
        model = self.load()
        total = Comparison.by(self._protocol())
        samples = []
        with console.progress("evaluating", total=count) as progress:
            for case in cases:
                image2 = None if case.sample.alone else case.sample.image2
                measured = Comparison.by(self._protocol())
                measured.update(case, self.look(model, case.sample.image1, image2))
                total.merge(measured)
                samples.append({"sample": case.name, **measured.figures()})
                progress.advance()
        figures = total.figures()
        if figures["flow"] is None and figures["depth"] is None:
            raise InputError(
                f"truth ({count} samples) must be known at one pixel at least; choose another data "
                "set, crop or largest depth"
            )
        result = {
            "weights": self.weights,
            "dataset": self.dataset,
            "scenes": self.scenes,
            "samples": count,
            **figures,
        }
        folder = fresh_folder(self.output, default="promotion-eval")
        _write(folder, {**result, "per_sample": samples})
        self._tell(console, figures)
        console.print(f"the figures of each sample are in {folder}")
        console.result({**result, "output": folder})

    def _cases(self) -> tuple[Iterator[Case], int]:
        """The samples, and how many there are."""
        if self.dataset is None:
            count = self.scenes or 0
            return scenes_of(self.look_of_scenes, count), count
        dataset = open_folder(self.dataset, self.layout)
        count = min(len(dataset), self.limit or len(dataset))
        return samples_of(dataset, self.dataset, count), count

    def _tell(self, console: Console, figures: dict[str, dict[str, Any] | None]) -> None:
        flow, zero = figures["flow"], figures["zero_flow"]
        if flow and zero:
            console.table(
                "Flow",
                ["figure", "model", "zero flow"],
                table(FLOW_ROWS, flow, zero),
            )
        depth, constant = figures["depth"], figures["constant_depth"]
        if depth and constant:
            console.table(
                f"Depth, alignment {self.alignment}, crop {self.crop}",
                ["figure", "model", "constant depth"],
                table(DEPTH_ROWS, depth, constant),
            )


def _write(folder: Path, result: dict[str, Any]) -> None:
    text = json.dumps(result, indent=2, default=str)
    replace_file(folder / "metrics.json", f"{text}\n".encode())
    lines = [{"sample": row["sample"], **flat(row)} for row in result["per_sample"]]
    with replacing(folder / "metrics.csv") as part, part.open("w", newline="") as file:
        writer = csv.DictWriter(file, lines[0].keys())
        writer.writeheader()
        writer.writerows(lines)
