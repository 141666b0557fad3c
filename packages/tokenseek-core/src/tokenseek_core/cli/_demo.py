"""`tokenseek demo`: a short real fine-tuning, dense, checkpointed and through the kept tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tokenseek_common.cli import CommonOptions, Console, check_folder
from tokenseek_core.demo import DemoResult, DemoSettings, Training, demo, write_report
from tokenseek_core.inspect import cost_table


@dataclass(frozen=True, kw_only=True)
class Demo(DemoSettings, CommonOptions):
    """Fine-tune a small model for a few minutes, each way, and write a report.

    Dense, checkpointed and TokenSeek training start from the same weights and take the same steps
    on docstrings of Python's standard library, without any network; then an adapter learns what its
    functions do. With the embedded model it takes about eight minutes on two cores and 5 GB of
    memory. report.html and report.json go to the folder that --output names, or to a new
    tokenseek-demo-001.
    """

    def run(self, console: Console) -> None:
        """Run the demo, write its report, print its tables."""
        check_folder(self.output)
        result = demo(self, console=console)
        _tell(result, console)
        folder = write_report(result, self.output)
        console.print(f"report: {folder / 'report.html'}")
        console.result(result.summary() | {"folder": folder})


def _tell(result: DemoResult, console: Console) -> None:
    lessons = result.lessons
    console.table(
        f"One step of {result.setup.name} on {lessons.measured_tokens} tokens, "
        f"ratio {result.config.ratio:g}, on {result.setup.device}",
        *cost_table(result.costs),
    )
    console.table(
        f"Fine-tuning, {result.steps} steps each; loss on {lessons.held_out_texts} held-out texts",
        *_learnt(result.trainings),
    )
    if result.answers is None:
        return
    answers = result.answers
    console.table(
        f"One step of an adapter of rank {answers.rank} on {answers.measured_tokens} tokens, of "
        f"which {answers.measured_supervised} are learnt; TokenSeek {answers.kept}",
        *cost_table(answers.costs),
    )
    console.table(
        f"Fine-tuning it, {answers.trained_texts} steps each; loss on {answers.held_out_texts} "
        "held-out texts",
        *_learnt(answers.trainings),
    )


def _learnt(trainings: Sequence[Training]) -> tuple[list[str], list[list[Any]]]:
    """Head and rows of a table of trainings."""
    rows = [
        [
            training.method,
            training.before.loss,
            training.after.loss,
            training.after.seconds,
            training.after.cpu_seconds,
        ]
        for training in trainings
    ]
    return ["method", "loss before", "loss after", "training s", "processor s"], rows
