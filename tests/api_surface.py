"""The public names of every package and public subpackage, taken from `__all__`.

`python tests/api_surface.py --write` freezes them in api_surface.json; without --write, shows them.
"""

from __future__ import annotations

import argparse
import importlib
import json
import pkgutil
import sys
from pathlib import Path

from workspace import MODULES

FROZEN = Path(__file__).with_suffix(".json")


def public_modules(package: str) -> list[str]:
    """Name a package and everything importable below it whose path has no underscore."""
    found = [package]
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
        if not module.name.startswith("_"):
            name = f"{package}.{module.name}"
            found += public_modules(name) if module.ispkg else [name]
    return found


def public_names(module: str) -> list[str]:
    """Give a module's `__all__`, sorted."""
    names = getattr(importlib.import_module(module), "__all__", None)
    if names is None:
        message = (
            f"{module} (no __all__) must list its public names; add __all__, or rename it _*.py"
        )
        raise AttributeError(message)
    return sorted(names)


def surface(package: str) -> dict[str, list[str]]:
    """Give the public names of each public module of a package."""
    return {module: public_names(module) for module in public_modules(package)}


def main() -> None:
    """Show or freeze the public names of all packages."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"write them to {FROZEN.name}")
    write = parser.parse_args().write

    text = json.dumps({package: surface(package) for package in MODULES}, indent=2) + "\n"
    if write:
        FROZEN.write_text(text, encoding="utf-8")
    else:
        sys.stdout.write(text)


if __name__ == "__main__":
    main()
