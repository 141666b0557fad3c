"""`mept eval`: score an adapter on samples of its tasks, or of others like them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from mept.cli._adapter_options import AdapterOptions
from mept.training._quiet import libraries_quiet
from mept.training._saved import read_adapter, write_json
from mept.training._scores import score_samples
from mept.training._sources import load_scored
from tokenseek_common.cli import Console, check_folder, first_device, fresh_folder, on_unless


@dataclass(frozen=True, kw_only=True)
class Eval(AdapterOptions):
    """Score an adapter of `mept train` on one split of one task or more.

    A classifier knows the labels that it was trained on, and is refused others; a model that writes
    is asked any task. Of a file that the run has learnt from, what it held out is scored, and of
    another file every row; the result says which. Nothing is written unless --output names a
    folder, which then receives eval.json.
    """

    output: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER", aliases=("-o",))] = None
    """Where to write eval.json: a new or empty folder. Without it, nothing is written."""

    generation: Annotated[bool, on_unless("Do not let a model that writes do so freely.")] = True
    """Also let a model that writes do so freely."""

    def run(self, console: Console) -> None:
        """Load, score, tell."""
        begin = time.perf_counter()
        check_folder(self.output)
        device = first_device(self.device)
        saved = read_adapter(self.adapter)
        scored = {
            source.task.name: load_scored(source, saved.run, split=self.split, limit=self.limit)
            for source in self.sources(saved)
        }
        samples = [sample for found in scored.values() for sample in found.samples]
        with libraries_quiet(console):
            opened = self.open(saved, device, console)
            scores = score_samples(
                opened.form,
                opened.model,
                opened.form.questions(samples),
                batch_size=self.batch_size,
                generation=self.generation,
                console=console,
            )
        result = {
            "adapter": str(saved.folder),
            "model": opened.base,
            "form": saved.asked.form,
            "scored": {name: found.part for name, found in scored.items()},
            **scores.summary,
            "seconds": time.perf_counter() - begin,
        }
        console.print(f"adapter: {saved.folder}")
        parts = ", ".join(f"{name} ({found.part})" for name, found in scored.items())
        scores.tell(console, f"Scored on {parts}")
        if self.output is not None:
            folder = fresh_folder(self.output, default="mept-eval")
            write_json(folder / "eval.json", result)
        console.result(result)
