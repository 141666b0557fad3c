"""What holds for the tests of all packages."""

from __future__ import annotations

import gc


def pytest_collection_finish() -> None:
    """Leave what was imported out of every later collection of garbage: it stays anyway."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure() -> None:
    """Let the interpreter take everything apart at its end."""
    gc.unfreeze()
