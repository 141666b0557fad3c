"""`mept eval`: score an adapter on samples of its tasks, or of others like them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from mept.cli._options import check_counts, first_device, flat
from mept.cli._train_options import RANDOM
from mept.training._classification import outputs_of
from mept.training._models import load_base
from mept.training._prompts import load_adapter
from mept.training._quiet import libraries_quiet
from mept.training._saved import BASE, SavedAdapter, read_adapter, write_json
from mept.training._scores import score_samples
from mept.training._sources import OwnTask, TaskSource, find_sources, load_scored
from tokenseek_common import InputError
from tokenseek_common.cli import CommonOptions, Console, check_folder, fresh_folder, resolve_dtype


@dataclass(frozen=True, kw_only=True)
class Eval(CommonOptions):
    """Score an adapter of `mept train` on one split of one task or more.

    A classifier knows the labels that it was trained on, and is refused others; a model that writes
    is asked any task. Nothing is written unless --output names a folder, which then receives
    eval.json.
    """

    adapter: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="ADAPTER")]
    """The adapter's folder, or that of its run."""

    task: Annotated[
        tuple[tuple[str, ...], ...],
        tyro.conf.UseAppendAction,
        tyro.conf.arg(metavar="NAME[=SOURCE]"),
    ] = ()
    """Tasks and where their samples are: a file, a folder or a hub id; at least one."""

    split: str = "validation"
    """Which split of a folder or the hub is scored; a file has none."""

    model: str | None = None
    """A folder or hub id with the base; by default the one that the adapter was trained on."""

    labels: tuple[str, ...] = ()
    """Labels of a task of your own that the adapter was not trained on, in order."""

    text_fields: tuple[str, ...] = ("text",)
    """Which one or two fields of its rows are its texts."""

    label_field: str = "label"
    """Which field of its rows is its label."""

    batch_size: int = 16
    """Rows that go through the model at a time."""

    limit: int | None = None
    """Read at most this many samples of each task."""

    generation: bool = True
    """Also let a model that writes do so freely."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_counts({"batch_size": self.batch_size, "limit": self.limit})

    def run(self, console: Console) -> None:
        """Load, score, tell."""
        begin = time.perf_counter()
        check_folder(self.output)
        device = first_device(self.device)
        saved = read_adapter(self.adapter)
        sources = self._sources(saved)
        samples = [
            sample
            for source in sources
            for sample in load_scored(source, split=self.split, limit=self.limit)
        ]
        with libraries_quiet():
            base_name = self._base(saved)
            console.note(f"loading {base_name}")
            dtype = resolve_dtype(self.dtype, device)
            base = load_base(base_name, saved.asked, device=device, dtype=dtype)
            model = load_adapter(base, saved.folder)
            scores = score_samples(
                base.form,
                model,
                base.form.questions(samples),
                batch_size=self.batch_size,
                generation=self.generation,
                console=console,
            )
        result = {
            "adapter": str(saved.folder),
            "model": base_name,
            "form": saved.asked.form,
            "split": self.split,
            **scores.summary,
            "seconds": time.perf_counter() - begin,
        }
        console.print(f"adapter: {saved.folder}")
        scores.tell(console, f"Scored on {', '.join(scores.samples)}")
        if self.output is not None:
            folder = fresh_folder(self.output, default="mept-eval")
            write_json(folder / "eval.json", result)
        console.result(result)

    def _sources(self, saved: SavedAdapter) -> list[TaskSource]:
        """Find the tasks, those of the adapter first; a head is asked what it has labels for."""
        own = OwnTask(self.labels, self.text_fields, self.label_field)
        trained = {task.name: task for task in saved.asked.tasks}
        if not flat(self.task):
            raise InputError(
                "task (none) must be given; write --task NAME=SOURCE, such as "
                f"{next(iter(trained))}, which the adapter was trained on"
            )
        sources = find_sources(flat(self.task), own, known=trained)
        if saved.asked.form == "classification":
            for source in sources:
                outputs_of(source.task, saved.asked.tasks)
        return sources

    def _base(self, saved: SavedAdapter) -> str:
        """The base model, asked for by the user or by the adapter."""
        if self.model is not None:
            return self.model
        return str(saved.folder.parent / BASE) if saved.model == RANDOM else saved.model
