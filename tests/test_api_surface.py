from __future__ import annotations

import importlib
import json

import pytest

from api_surface import FROZEN, surface
from workspace import MODULES

REFRESH = "uv run python tests/api_surface.py --write"


def qualified(names: dict[str, list[str]]) -> set[str]:
    return {f"{module}.{name}" for module, names in names.items() for name in names}


@pytest.mark.parametrize("package", MODULES)
def test_public_names_are_the_frozen_ones(package: str) -> None:
    frozen = qualified(json.loads(FROZEN.read_text(encoding="utf-8")).get(package, {}))
    present = qualified(surface(package))

    lost = sorted(frozen - present)
    assert not lost, (
        f"{lost} disappeared from the public API; bring them back or, where users shall lose "
        f"them, say so in the package's CHANGELOG.md and run `{REFRESH}`"
    )
    new = sorted(present - frozen)
    assert not new, f"{new} must be in {FROZEN.name}; run `{REFRESH}`"


@pytest.mark.parametrize("package", MODULES)
def test_every_public_name_exists_and_is_listed_once(package: str) -> None:
    for module, names in surface(package).items():
        absent = [name for name in names if not hasattr(importlib.import_module(module), name)]
        assert not absent, f"{module}.__all__ lists {absent}, which {module} does not define"
        assert len(set(names)) == len(names), f"{module}.__all__ lists a name twice"
