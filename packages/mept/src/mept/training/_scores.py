"""A model's answers to samples, scored by the metrics of their tasks."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from mept.training._by_class import ByClass, tell_by_class
from mept.training._forms import Form, Metrics, Questions
from mept.training._text_to_text import TextToTextForm
from tokenseek_common.cli import Console
from tokenseek_common.data import score_predictions


@dataclass(frozen=True)
class Scores:
    """How well samples were answered.

    Args:
        samples: How many, of each task.
        chosen: The metrics of each task, where the model chose among the answers, or its head
            answered.
        written: The same, where it wrote what it liked; None if it was not asked to.
        classes: The choices of each task with fixed labels, label by label; see `by_class`.
    """

    samples: dict[str, int]
    chosen: Metrics
    written: Metrics | None
    classes: ByClass

    @property
    def mean(self) -> float:
        """The score of the choices, averaged over tasks."""
        return mean_score(self.chosen)

    @property
    def summary(self) -> dict[str, Any]:
        """All of it by name."""
        return {"score": self.mean, **vars(self)}

    def tell(self, console: Console, title: str) -> None:
        """Print a table of the scores, and one of the labels of each task."""
        by_way = {"chosen": self.chosen} | ({"written": self.written} if self.written else {})
        console.table(
            title,
            ["task", "samples", "answers", "metric", "value"],
            [
                [task, self.samples[task], way, metric, value]
                for way, found in by_way.items()
                for task, metrics in found.items()
                for metric, value in metrics.items()
                if metric != "score" or len(metrics) > 2  # else it is the one metric again
            ],
        )
        tell_by_class(self.classes, console)


def mean_score(metrics: Metrics) -> float:
    """The unweighted mean over tasks, as SuperGLUE has it."""
    return fmean(found["score"] for found in metrics.values())


def score_samples(
    form: Form,
    model: Any,
    questions: Questions,
    *,
    batch_size: int,
    generation: bool,
    console: Console,
) -> Scores:
    """Let a model answer questions, and score it.

    Args:
        form: How it is asked.
        model: A model with prompts.
        questions: Of samples with right answers.
        batch_size: Rows that go through the model at a time.
        generation: Whether a model that writes is also asked to write.
        console: Where progress is told.

    Returns:
        The scores by the official metrics of each task.
    """
    samples = questions.samples
    with console.progress("scoring", total=questions.size) as progress:
        answers = form.answers(model, questions, batch_size=batch_size, advance=progress.advance)
    written = None
    if generation and isinstance(form, TextToTextForm):
        with console.progress("writing", total=len(samples)) as progress:
            texts = form.write(model, samples, batch_size=batch_size, advance=progress.advance)
        written = score_predictions(samples, texts)
    counted = dict(Counter(sample.task.name for sample in samples))
    scored = form.metrics(samples, answers)
    return Scores(counted, scored, written, form.classes(samples, answers))
