"""A changelog in the form of Keep a Changelog; anything else in it is an error."""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass, field

KINDS = ("Added", "Changed", "Deprecated", "Removed", "Fixed", "Security")
UNRELEASED = "Unreleased"
HEADING = re.compile(r"## (?:\[Unreleased\]|\[(\d+\.\d+\.\d+\S*)\] - (\d{4}-\d{2}-\d{2}))")


@dataclass(frozen=True)
class Release:
    """What one version changed, by kind."""

    version: str  # or UNRELEASED
    date: datetime.date | None
    changes: dict[str, list[str]] = field(default_factory=dict)


def read_changelog(text: str) -> list[Release]:
    """Give its versions, the newest first.

    Raises:
        ValueError: A line is not of the form, with its number.
    """
    lines = text.splitlines()
    if lines[:1] != ["# Changelog"]:
        raise ValueError("line 1 must be # Changelog")
    found: list[Release] = []
    changes: list[str] | None = None  # of the kind that the lines belong to
    for number, line in enumerate(lines[1:], start=2):
        if line.startswith("## "):
            heading = HEADING.fullmatch(line)
            if heading is None or (found and heading[1] is None):
                raise ValueError(f"line {number} ({line}) must be ## [<version>] - <date>")
            date = heading[2] and datetime.date.fromisoformat(heading[2])
            found.append(Release(heading[1] or UNRELEASED, date or None))
            changes = None
        elif line.startswith("### "):
            kind = line.removeprefix("### ")
            if not found or kind not in KINDS or kind in found[-1].changes:
                raise ValueError(f"line {number} ({line}) must be one of {KINDS}, once a version")
            changes = found[-1].changes[kind] = []
        elif changes is not None and line:
            if line.startswith("- "):
                changes.append(line.removeprefix("- "))
            elif line.startswith("  ") and changes:
                changes[-1] += f" {line.strip()}"
            else:
                raise ValueError(f"line {number} ({line}) must be an entry: - what is new")
        elif found and line.startswith("- "):
            raise ValueError(f"line {number} ({line}) must stand under one of {KINDS}")
    _check_order(found)
    return found


def _check_order(found: list[Release]) -> None:
    """Refuse an empty changelog, an empty kind, and versions that are not newest first."""
    if not found:
        raise ValueError("a version must be there; begin with ## [Unreleased]")
    for release in found:
        for kind, changes in release.changes.items():
            if not changes:
                raise ValueError(f"{kind} of {release.version} must have an entry; take it away")
    dates = [release.date for release in found if release.date is not None]
    if dates != sorted(dates, reverse=True):
        raise ValueError("the newest version must come first")
