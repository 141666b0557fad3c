"""Our packages from their sources, where they are not installed: a machine may have no network.

Each asks at import for its own version, which an installation would know; here its pyproject.toml
says it. References of the tests and tasks of other benchmarks can be imported too.
"""

from __future__ import annotations

import importlib.metadata
import sys
import tomllib
from collections.abc import Iterable
from importlib.metadata import Distribution, DistributionFinder, PackageNotFoundError
from pathlib import Path

ROOT = Path(__file__).parents[2]
REUSED = (ROOT / "tests", ROOT / "benchmarks/tokenseek_core")


class SourceDistribution(Distribution):
    """What its pyproject.toml says of a package that is not installed."""

    def __init__(self, pyproject: Path) -> None:
        self._folder = pyproject.parent
        project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
        self.distribution: str = project["name"]
        self._metadata = f"Name: {project['name']}\nVersion: {project['version']}\n"

    def read_text(self, filename: str) -> str | None:
        """The one file that an installation has and sources have not."""
        return self._metadata if filename == "METADATA" else None

    def locate_file(self, path: object) -> Path:
        """Where a file of it lies."""
        return self._folder / str(path)


class SourceFinder(DistributionFinder):
    """Finds those that it was made with, after all that are installed."""

    def __init__(self, distributions: Iterable[SourceDistribution]) -> None:
        self._known = {found.distribution: found for found in distributions}

    def find_spec(self, *_: object) -> None:
        """None: modules are found on the path."""

    def find_distributions(
        self, context: DistributionFinder.Context | None = None
    ) -> Iterable[Distribution]:
        """Those of a name, or all."""
        name = None if context is None else context.name
        return [self._known[n] for n in self._known if name in (None, n)]


def use_sources() -> None:
    """Let everything be imported; what is installed already is taken from there."""
    absent = [found for found in all_sources() if not installed(found.distribution)]
    if absent:
        sys.meta_path.append(SourceFinder(absent))
    sys.path += [str(found.locate_file("src")) for found in absent]
    sys.path += [str(folder) for folder in REUSED if str(folder) not in sys.path]


def all_sources() -> list[SourceDistribution]:
    """The packages of the checkout."""
    return [SourceDistribution(path) for path in sorted(ROOT.glob("packages/*/pyproject.toml"))]


def installed(distribution: str) -> bool:
    """Whether it is known to this environment."""
    try:
        importlib.metadata.version(distribution)
    except PackageNotFoundError:
        return False
    return True
