"""`mept predict`: what an adapter answers to new rows, and how sure it is."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from mept.cli._adapter_options import OpenOptions
from mept.cli._answers import check_answer_file, write_answers
from mept.training._choices import ChoiceForm
from mept.training._quiet import libraries_quiet
from mept.training._saved import SavedAdapter, read_adapter
from tokenseek_common import InputError
from tokenseek_common.cli import Console, first_device
from tokenseek_common.data import Task, load_rows

NESTED = ("wsc", "multirc", "record")
"""Layouts of which a row may hold many samples."""


@dataclass(frozen=True, kw_only=True)
class Predict(OpenOptions):
    """Answer new rows with an adapter of `mept train`.

    Each row of a file comes back with the label that the model chose and how likely it holds each
    label, or with the labels of its words, its number or the span that answers it; labels that the
    file has are not read. --output takes a new .jsonl or .csv file; without
    it, the answers are printed.
    """

    rows: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="FILE")]
    """The rows: a file as `mept train` reads, or lines of text."""

    task: str | None = None
    """Which of the tasks of the adapter is asked; by default its only one."""

    output: Annotated[Path | None, tyro.conf.arg(metavar="FILE", aliases=("-o",))] = None
    """Where to write the answers: a new file that ends in .jsonl or .csv."""

    def run(self, console: Console) -> None:
        """Load, answer, write."""
        begin = time.perf_counter()
        check_answer_file(self.output)
        device = first_device(self.device)
        saved = read_adapter(self.adapter)
        task = task_of(saved, self.task)
        read = load_rows(task, self.rows, limit=self.limit)
        with libraries_quiet(console):
            opened = self.open(saved, device, console)
            questions = opened.form.questions([sample for _, sample in read])
            with console.progress("answering", total=questions.size) as progress:
                found = opened.form.answers(
                    opened.model, questions, batch_size=self.batch_size, advance=progress.advance
                )
        answers: list[dict[str, Any]] = []
        for (row, sample), each in zip(read, found, strict=True):
            told = sample.texts if task.layout in NESTED else row
            answers.append({**told, **opened.form.told(sample, each)})
        if self.output is None:
            for answer in answers:
                console.print(f"{in_words(answer['prediction'])}: {shortened(answer, task)}")
        else:
            write_answers(self.output, answers)
            if isinstance(opened.form, ChoiceForm):
                counts = Counter(answer["prediction"] for answer in answers)
                table = [[label, count] for label, count in counts.most_common()]
                console.table(f"Answers to {len(answers)} rows", ["prediction", "rows"], table)
            console.print(f"answers: {self.output}")
        console.result(
            {
                "adapter": str(saved.folder),
                "model": opened.base,
                "task": task.name,
                "answers": answers,
                "seconds": time.perf_counter() - begin,
                "output": self.output,
            }
        )


def task_of(saved: SavedAdapter, name: str | None) -> Task:
    """The task of an adapter that is meant.

    Raises:
        InputError: It has none of that name, or several and no name is given.
    """
    tasks = {task.name: task for task in saved.asked.tasks}
    if name is None and len(tasks) == 1:
        return saved.asked.tasks[0]
    if name not in tasks:
        raise InputError(
            f"task ({name}) must be one that the adapter was trained on, {', '.join(tasks)}; "
            "choose one of them by --task"
        )
    return tasks[name]


def in_words(prediction: Any) -> str:
    """A prediction on one line."""
    if isinstance(prediction, float):
        return f"{prediction:.4g}"
    return " ".join(prediction) if isinstance(prediction, list) else str(prediction)


def shortened(answer: dict[str, Any], task: Task) -> str:
    """The beginning of the first text of a row, on one line."""
    given = answer.get(task.fields[0], "")
    text = " ".join(given if isinstance(given, list) else str(given).split())
    return text if len(text) <= 80 else f"{text[:79]}\u2026"
