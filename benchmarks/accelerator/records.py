"""What was measured, a file for each cell, and what it was measured with."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import platform
import re
from pathlib import Path
from typing import Any

from accelerator.sources import ROOT

RESULTS = ROOT / "benchmarks/results/accelerator"
SUMMARY = "summary.json"
LIBRARIES = ("torch", "transformers", "peft", "kornia")

Record = dict[str, Any]


def environment() -> Record:
    """The device and the versions, without a date or a path.

    Loads what most cells need, so that the first need not wait for it.
    """
    import torch
    from accelerator.devices import device, name_of, total_memory

    with contextlib.suppress(ImportError):  # cells say it better
        importlib.import_module("accelerator.steps")
    torch.ones(1, device=device()).sum().item()
    return {
        "device": name_of(device()),
        "memory_bytes": total_memory(device()),
        "python": platform.python_version(),
        "cuda": torch.version.cuda if device().type == "cuda" else None,
    } | {name: version_of(name) for name in LIBRARIES}


def version_of(distribution: str) -> str | None:
    """Its version, where it is installed."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def folder_name(device: str) -> str:
    """A device's name as a folder: nvidia-h200."""
    return re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-")


def recorded(folder: Path) -> dict[str, Record]:
    """All cells on disk, by name; those of a summary too, which may have come alone."""
    found: dict[str, Record] = {}
    if (folder / SUMMARY).exists():
        found |= json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
    for path in sorted(folder.glob("*/*.json")):
        name = path.relative_to(folder).with_suffix("").as_posix()
        found[name] = json.loads(path.read_text(encoding="utf-8"))
    return found


def write(path: Path, record: Record | dict[str, Record]) -> None:
    """Record, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    partial.replace(path)
