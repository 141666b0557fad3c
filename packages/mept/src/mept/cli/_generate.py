"""`mept generate`: what a model with an adapter writes."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from transformers import set_seed

from mept.cli._adapter_options import OpenOptions
from mept.cli._answers import check_answer_file, write_answers
from mept.cli._predict import task_of
from mept.training._quiet import libraries_quiet
from mept.training._saved import read_adapter
from mept.training._text_to_text import TextToTextForm
from tokenseek_common import InputError
from tokenseek_common.cli import Console, check_counts, check_positive, check_shares, first_device
from tokenseek_common.data import load_rows


@dataclass(frozen=True, kw_only=True)
class Generate(OpenOptions):
    """Let a model with an adapter of `mept train` write.

    It goes on from the texts that --prompt gives as they are, or from the rows of a file, asked as
    in training. It writes the likeliest token, or draws with --sample.
    """

    rows: Annotated[tyro.conf.Positional[Path | None], tyro.conf.arg(metavar="FILE")] = None
    """Rows of a task: a file as `mept train` reads, or lines of text."""

    prompt: tuple[str, ...] = ()
    """Texts to go on from, in place of a file."""

    task: str | None = None
    """Which of the tasks of the adapter the rows are asked; by default its only one."""

    output: Annotated[Path | None, tyro.conf.arg(metavar="FILE", aliases=("-o",))] = None
    """Where to write the answers: a new file that ends in .jsonl or .csv."""

    max_new_tokens: int = 64
    """Most tokens of an answer."""

    sample: bool = False
    """Draw tokens, in place of the likeliest."""

    temperature: float = 1.0
    """With --sample: below 1 draws likely tokens more often."""

    top_p: float | None = None
    """With --sample: draw among the likeliest tokens that have this much of the probability."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_counts({"max_new_tokens": self.max_new_tokens})
        check_positive({"temperature": self.temperature})
        if self.top_p is not None:
            check_shares({"top_p": self.top_p})
        if not self.sample and (self.top_p is not None or self.temperature != 1):
            name = "temperature" if self.top_p is None else "top_p"
            raise InputError(
                f"{name} ({getattr(self, name):g}) must come with --sample, or it has no effect; "
                "add that, or leave it out"
            )
        if (self.rows is None) == (not self.prompt):
            given = "neither" if self.rows is None else "both"
            raise InputError(f"prompt ({given}) must be given by --prompt or a FILE; give one")

    def run(self, console: Console) -> None:
        """Load, write on, tell."""
        begin = time.perf_counter()
        check_answer_file(self.output)
        device = first_device(self.device)
        saved = read_adapter(self.adapter)
        if saved.asked.form != "text-to-text":
            raise InputError(
                f"adapter ({saved.folder}) must be one that writes, and its model has a head for "
                f"{saved.asked.form}; ask it by mept predict"
            )
        asked = []
        if self.rows is not None:
            asked = load_rows(task_of(saved, self.task), self.rows, limit=self.limit)
        with libraries_quiet(console):
            opened = self.open(saved, device, console)
            form = opened.form
            assert isinstance(form, TextToTextForm)
            rows = [form.asked_row(sample) for _, sample in asked]
            rows = rows or [form.text_row(text) for text in self.prompt]
            set_seed(self.seed)
            with console.progress("writing", total=len(rows)) as progress:
                texts = form.written(
                    opened.model,
                    rows,
                    [self.max_new_tokens] * len(rows),
                    batch_size=self.batch_size,
                    advance=progress.advance,
                    **self._sampling,
                )
        given: list[dict[str, Any]] = [dict(row) for row, _ in asked]
        given = given or [{"prompt": text} for text in self.prompt]
        answers = [row | {"written": text} for row, text in zip(given, texts, strict=True)]
        if self.output is None:
            for text in texts:
                console.print(text)
        else:
            write_answers(self.output, answers)
            console.print(f"answers: {self.output}")
        console.result(
            {
                "adapter": str(saved.folder),
                "model": opened.base,
                "answers": answers,
                "seconds": time.perf_counter() - begin,
                "output": self.output,
            }
        )

    @property
    def _sampling(self) -> dict[str, Any]:
        if not self.sample:
            return {}
        return {
            "do_sample": True,
            "temperature": self.temperature,
            "top_p": self.top_p if self.top_p is not None else 1.0,
            "top_k": 0,
        }
