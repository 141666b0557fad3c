"""Files that belong together by their names."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from promotion.datasets._files import SampleFiles
from tokenseek_common import InputError


@dataclass(frozen=True)
class Pattern:
    """Names of files in a folder.

    Args:
        folder: Where they lie.
        names: Patterns, of which a file follows one. ``*`` stands for a part of a name, and what
            it stands for is the file's key; ``**/`` stands for folders of any names.
    """

    folder: Path
    names: Sequence[str]

    def find(self) -> dict[tuple[str, ...], Path]:
        """The files that follow one of the patterns, by their keys, in the order of the keys."""
        found: dict[tuple[str, ...], Path] = {}
        for name in self.names:
            expression = re.compile(_expression(name))
            for path in sorted(self.folder.glob(name)):
                if key := expression.fullmatch(path.relative_to(self.folder).as_posix()):
                    found.setdefault(key.groups(), path)
        return dict(sorted(found.items()))

    def name(self, key: tuple[str, ...]) -> Path:
        """The file of a key, whether or not it exists, after the first pattern that it fits."""
        fitting = next(name for name in self.names if _stars(name) == len(key))
        parts = iter(key)
        return self.folder / re.sub(r"\*", lambda _: next(parts), fitting.replace("**/", ""))


def present(patterns: Mapping[str, Pattern]) -> dict[str, Pattern]:
    """The patterns that any file follows."""
    return {role: pattern for role, pattern in patterns.items() if pattern.find()}


def match(
    driver: str,
    patterns: Mapping[str, Pattern],
    *,
    complete: bool = False,
    only: Collection[tuple[str, ...]] | None = None,
) -> list[SampleFiles]:
    """Bring together the files of each key.

    Args:
        driver: The field of `SampleFiles` whose files decide which keys there are.
        patterns: By field, those of the files that each key must have.
        complete: Whether the files of the other fields must have all partners as well.
        only: The keys that are wanted, in their order; None wants all.

    Returns:
        The files of each key, in the order of the keys.

    Raises:
        InputError: If there are no files, or one lacks a partner.
    """
    found = {role: pattern.find() for role, pattern in patterns.items()}
    if not found[driver]:
        pattern = patterns[driver]
        raise InputError(
            f"{pattern.folder} must hold files {' or '.join(pattern.names)}; check the folder"
        )
    keys = list(found[driver]) if only is None else list(only)
    if complete:
        keys = sorted({key for files in found.values() for key in files})
    for key in keys:
        for role, pattern in patterns.items():
            if key not in found[role]:
                present = next((files[key] for files in found.values() if key in files), None)
                if present is None:
                    raise InputError(
                        f"{pattern.name(key)} must exist; check the file that names it"
                    )
                raise InputError(
                    f"{present} must have a partner {pattern.name(key)}; add it, "
                    f"or take {present.name} away"
                )
    samples: list[dict[str, Any]] = [{role: found[role][key] for role in found} for key in keys]
    return [SampleFiles(**files) for files in samples]


def _expression(name: str) -> str:
    parts = re.split(r"(\*\*/|\*)", name)
    regular = {"**/": "(?:.+/)?", "*": "([^/]+?)"}
    return "".join(regular.get(part, re.escape(part)) for part in parts)


def _stars(name: str) -> int:
    return name.replace("**/", "").count("*")
