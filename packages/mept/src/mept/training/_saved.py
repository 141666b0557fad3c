"""Files of a run beside its weights: what was asked for, what came of it, how to ask again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mept.training._asked import Asked
from tokenseek_common import InputError, replacing
from tokenseek_common.data import Task

RECORD, RESULT, ASKED = "run.json", "result.json", "mept.json"
BASE = "base"
"""The folder of a base model that was made at run time, in that of its run."""

_PACKAGES = ("mept", "peft", "transformers", "accelerate", "torch")


@dataclass(frozen=True)
class SavedAdapter:
    """An adapter that a run has left.

    Args:
        folder: Where it lies.
        model: What the run called its base.
        asked: How it is asked.
    """

    folder: Path
    model: str
    asked: Asked

    @property
    def specs(self) -> list[str]:
        """The tasks that it was trained on, as a command line names them, and where they lay."""
        sources = (self.run or {}).get("sources", {})
        names = [task.name for task in self.asked.tasks]
        return [f"{name}={sources[name]}" if sources.get(name) else name for name in names]

    @property
    def run(self) -> dict[str, Any] | None:
        """What the run recorded of itself; None where the adapter lies without it."""
        record = _read(self.folder.parent / RECORD)
        return record if record is not None and _is_record(record) else None


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write an object; a reader never sees half of it."""
    with replacing(path) as part:
        part.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def write_record(
    folder: Path,
    options: Mapping[str, object],
    samples: Mapping[str, object],
    sources: Mapping[str, str | None],
) -> None:
    """Write what a run is asked for, before it begins.

    Args:
        folder: The run's.
        options: Those that make it what it is.
        samples: Fingerprints of what it learns, chooses by and is scored on.
        sources: Where what is scored lies, by task; None where it is made at run time.
    """
    versions = {name: version(name) for name in _PACKAGES}
    content = {"options": options, "samples": samples, "sources": sources, "versions": versions}
    write_json(folder / RECORD, content)


def check_record(
    folder: Path, options: Mapping[str, object], samples: Mapping[str, object] | None = None
) -> None:
    """Refuse to go on with a run under options, or on samples, that would make it another one.

    Raises:
        InputError: They differ, the folder has no record of them, or the run is finished.
    """
    if (folder / RESULT).exists():
        raise InputError(
            f"output ({folder}) must hold an unfinished run, and this one has its {RESULT}; "
            "leave out --resume and choose another --output"
        )
    before = _read(folder / RECORD)
    if before is None or not _is_record(before):
        raise InputError(
            f"output ({folder}) must hold the {RECORD} of the run that is resumed; "
            "start anew in another --output, without --resume"
        )
    ours: dict[str, Any] = json.loads(json.dumps(options))  # tuples become lists
    differing = [name for name, value in ours.items() if before["options"].get(name) != value]
    if differing:
        told = ", ".join(f"{name} ({ours[name]})" for name in differing)
        theirs = ", ".join(str(before["options"].get(name)) for name in differing)
        raise InputError(
            f"{told} must be {theirs}, as in the run that is resumed; "
            "repeat its options, or start anew in another --output"
        )
    changed = [
        name for name, value in (samples or {}).items() if before["samples"].get(name) != value
    ]
    if changed:
        raise InputError(
            f"samples ({', '.join(changed)}) must be those of the run that is resumed; "
            "restore the files, or start anew in another --output"
        )


def _is_record(content: Mapping[str, Any]) -> bool:
    return all(isinstance(content.get(name), dict) for name in ("options", "samples"))


def write_asked(folder: Path, model: str, asked: Asked) -> None:
    """Write beside an adapter what it takes to ask it."""
    write_json(folder / ASKED, {"model": model, **asdict(asked)})


def read_adapter(given: Path) -> SavedAdapter:
    """Find an adapter, in its own folder or in that of its run.

    Raises:
        InputError: There is none that `mept train` wrote, or not as it was.
    """
    folder = given.expanduser()
    for place in (folder, folder / "adapter"):
        content = _read(place / ASKED)
        if content is not None:
            return _saved_adapter(place, content)
    raise InputError(
        f"adapter ({given}) must be a folder that mept train wrote, with its {ASKED}; "
        "choose another folder"
    )


def _saved_adapter(folder: Path, content: dict[str, Any]) -> SavedAdapter:
    """What a file says of the adapter beside it."""
    try:
        model, tasks = content.pop("model"), content.pop("tasks")
        return SavedAdapter(folder, model, Asked(tasks=tuple(map(_task, tasks)), **content))
    except (AttributeError, KeyError, TypeError, InputError) as error:
        raise InputError(
            f"adapter ({folder}) must have its {ASKED} as mept train wrote it; restore the file, "
            "or train the adapter anew"
        ) from error


def _task(fields: dict[str, Any]) -> Task:
    """A task as it was: JSON has lists for tuples."""

    def frozen(value: Any) -> Any:
        return tuple(map(frozen, value)) if isinstance(value, list) else value

    return Task(**{name: frozen(value) for name, value in fields.items()})


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None
