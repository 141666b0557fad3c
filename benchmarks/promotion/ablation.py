"""What each mechanism brings on one small budget, with three seeds.

Every variant is trained anew by the same schedule, on scenes of its seed, and measured on scenes
that none was trained on. Each run is a file under benchmarks/results/promotion-flow/ablation; those
that are there are not run again. A difference is called one only where it exceeds the spread of the
seeds: the standard deviations of both together.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from records import RESULTS, read, write

from promotion import LossConfig, ProMotionConfig
from promotion.scenes import SceneConfig
from promotion.training import StageConfig, Trainer, TrainingConfig
from promotion.training._evaluate import evaluate_scenes
from tokenseek_common.cli import Console

RUNS = RESULTS / "ablation"
SEEDS = (0, 1, 2)
SCENES = 48
HEIGHT, WIDTH = 96, 128
BASE = TrainingConfig(
    stages=(
        StageConfig(
            name="ablation",
            steps=300,
            sizes=((HEIGHT, WIDTH),),
            scenes=SceneConfig(motion=0.04),
            iterations=3,
            learning_rate=8e-4,
        ),
    ),
    loss=LossConfig(depth=6.0),
    reuse=8,
    workers=0,
    save_every=10**6,
    evaluate_every=10**6,
    held_out=1,
    average=0.99,
)


@dataclass(frozen=True)
class Variant:
    """What differs from the full model.

    Args:
        label: How the table calls it.
        model: Fields of the model's config.
        stage: Fields of the stage.
        loss: Fields of the losses.
    """

    label: str
    model: dict[str, Any] = field(default_factory=dict)
    stage: dict[str, Any] = field(default_factory=dict)
    loss: dict[str, Any] = field(default_factory=dict)

    def config(self, seed: int) -> TrainingConfig:
        """The training of one seed."""
        return replace(
            BASE,
            seed=seed,
            model=ProMotionConfig.size("tiny", **self.model),
            stages=(replace(BASE.stages[0], **self.stage),),
            loss=replace(BASE.loss, **self.loss),
        )


VARIANTS = {
    "full": Variant("full"),
    "no-denoiser": Variant("no denoiser", model={"denoiser_blocks": 0}),
    "no-margin": Variant("no margin loss", loss={"margin": 0.0}),
    "kmeans": Variant("k-means in place of Sinkhorn", model={"assignment": "kmeans"}),
    "nearest": Variant("nearest by cosine in place of Sinkhorn", model={"assignment": "nearest"}),
    "em-0": Variant("no EM steps", model={"em_steps": 0}),
    "em-1": Variant("1 EM step in place of 3", model={"em_steps": 1}),
    "k-8": Variant("8 prototypes in place of 32", model={"prototypes": 8}),
    "k-100": Variant("100 prototypes in place of 32", model={"prototypes": 100}),
    "no-memory": Variant("prototypes of each picture alone", model={"memory": False}),
    "no-prototypes": Variant("no prototypes", model={"prototypes": 0}),
    "flow-alone": Variant("flow alone", stage={"tasks": ("flow",)}),
    "depth-alone": Variant("depth alone", stage={"tasks": ("depth",)}),
    "no-matching": Variant("start from no motion", model={"matching": 0}),
}


def run(variant: Variant, seed: int) -> dict[str, Any]:
    """Train and measure one."""
    begin = time.process_time()
    config = variant.config(seed)
    with tempfile.TemporaryDirectory() as folder:
        model = Trainer(config, Path(folder), Console(quiet=True)).run()
    trained = time.process_time() - begin
    scenes = SceneConfig(height=HEIGHT, width=WIDTH, motion=0.04)
    figures = evaluate_scenes(model, scenes, SCENES, tasks=config.stages[0].tasks)
    return {
        "label": variant.label,
        "seed": seed,
        "steps": config.steps,
        "cpu_seconds": round(trained, 1),
        "torch": torch.__version__,
        **figures,
    }


def recorded(name: str) -> list[dict[str, Any]]:
    """The runs of a variant that are on disk, by seed."""
    found = [read(RUNS / f"{name}-{seed}.json") for seed in SEEDS]
    return [record for record in found if record]


def compare(name: str, figure: str) -> str:
    """Mean and deviation of a figure, and what it differs from the full model's by if it does."""
    own = [record[figure] for record in recorded(name) if figure in record]
    full = [record[figure] for record in recorded("full")]
    if len(own) < 2:
        return "-"
    mean, deviation = statistics.fmean(own), statistics.stdev(own)
    text = f"{mean:.3f} +- {deviation:.3f}"
    spread = deviation + statistics.stdev(full)
    difference = mean - statistics.fmean(full)
    if name == "full":
        return text
    verdict = f"{difference:+.3f}" if abs(difference) > spread else "no difference seen"
    return f"{text} ({verdict})"


def table() -> str:
    """The Markdown table of what is on disk."""
    lines = ["| variant | endpoint error, px | Abs Rel |", "|---|---|---|"]
    for name, variant in VARIANTS.items():
        if recorded(name):
            lines.append(
                f"| {variant.label} | {compare(name, 'epe')} | {compare(name, 'abs_rel')} |"
            )
    return "\n".join(lines)


def main() -> None:
    """Run what is not there yet, a seed of all variants after the other, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", action="store_true", help="run nothing, print the table")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for seed in SEEDS if not options.table else ():
        for name, variant in VARIANTS.items():
            path = RUNS / f"{name}-{seed}.json"
            if not path.exists():
                record = run(variant, seed)
                write(path, record)
                sys.stdout.write(f"{path.name}: {json.dumps(record)}\n")
                sys.stdout.flush()
    sys.stdout.write(table() + "\n")


if __name__ == "__main__":
    main()
