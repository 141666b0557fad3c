"""The members of the workspace, as their own files describe them."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
SHARED = "tokenseek_common"  # the one package that the others may import


class Member(NamedTuple):
    """One package of the workspace."""

    folder: Path
    distribution: str
    module: str
    version: str

    @property
    def wheel(self) -> Path:
        """Where `nox -s build` leaves it."""
        name = self.distribution.replace("-", "_")
        return ROOT / "dist" / f"{name}-{self.version}-py3-none-any.whl"


def read_member(pyproject: Path) -> Member:
    """Read one package's pyproject.toml."""
    content = tomllib.loads(pyproject.read_text(encoding="utf-8"))
    return Member(
        folder=pyproject.parent,
        distribution=content["project"]["name"],
        module=content["tool"]["uv"]["build-backend"]["module-name"],
        version=content["project"]["version"],
    )


MEMBERS = [read_member(path) for path in sorted(ROOT.glob("packages/*/pyproject.toml"))]
MODULES = [member.module for member in MEMBERS]
