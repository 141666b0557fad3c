"""What every command that asks an adapter has: the adapter, its base, and the tasks it is asked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro

from mept.cli._options import flat
from mept.cli._train_options import RANDOM
from mept.training._classification import outputs_of
from mept.training._forms import Form
from mept.training._heads import HEADS, check_tasks
from mept.training._models import load_base
from mept.training._prompts import load_adapter
from mept.training._saved import BASE, SavedAdapter
from mept.training._sources import OwnTask, TaskSource, find_sources
from tokenseek_common.cli import CommonOptions, Console, check_counts, resolve_dtype


@dataclass(frozen=True)
class OpenedAdapter:
    """An adapter on its base, ready to be asked.

    Args:
        base: What the base is called.
        form: How it is asked.
        model: The model with its prompts.
    """

    base: str
    form: Form
    model: Any


@dataclass(frozen=True, kw_only=True)
class OpenOptions(CommonOptions):
    """The options of commands that open an adapter, checked."""

    adapter: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="ADAPTER")]
    """The adapter's folder, or that of its run."""

    model: str | None = None
    """A folder or hub id with the base; by default the one that the adapter was trained on."""

    batch_size: int = 16
    """Rows that go through the model at a time."""

    limit: int | None = None
    """Read at most this many samples of each task."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_counts({"batch_size": self.batch_size, "limit": self.limit})

    def open(self, saved: SavedAdapter, device: torch.device, console: Console) -> OpenedAdapter:
        """Load the base that the user or the adapter names, with the adapter on it.

        Raises:
            InputError: There is no such base, or the adapter does not fit it.
        """
        name = self.model
        if name is None:
            name = str(saved.folder.parent / BASE) if saved.model == RANDOM else saved.model
        console.note(f"loading {name}")
        dtype = resolve_dtype(self.dtype, device)
        base = load_base(name, saved.asked, device=device, dtype=dtype)
        return OpenedAdapter(name, base.form, load_adapter(base, saved.folder))


@dataclass(frozen=True, kw_only=True)
class AdapterOptions(OpenOptions):
    """The options of commands that ask an adapter what it was trained for, checked."""

    task: Annotated[
        tuple[tuple[str, ...], ...],
        tyro.conf.UseAppendAction,
        tyro.conf.arg(metavar="NAME[=SOURCE]"),
    ] = ()
    """Tasks and where their samples are: a file, a folder or a hub id. By default those that the
    adapter was trained on, where its run found them."""

    split: str = "validation"
    """Which split of a folder or the hub is read; a file has none."""

    labels: tuple[str, ...] = ()
    """Labels of a task of your own that the adapter was not trained on, in order."""

    text_fields: tuple[str, ...] = ("text",)
    """Which one or two fields of its rows are its texts."""

    label_field: str = "label"
    """Which field of its rows is its label."""

    def sources(self, saved: SavedAdapter) -> list[TaskSource]:
        """Find the tasks, those of the adapter first; a head is asked what it has labels for.

        Raises:
            InputError: A task is unknown or has no source, or the head has other labels.
        """
        own = OwnTask(self.labels, self.text_fields, self.label_field, saved.asked.form)
        trained = {task.name: task for task in saved.asked.tasks}
        sources = find_sources(flat(self.task) or saved.specs, own, known=trained)
        if saved.asked.form in HEADS:
            check_tasks(saved.asked.form, [source.task for source in sources])
            for source in sources:
                outputs_of(source.task, saved.asked.tasks)
        return sources
