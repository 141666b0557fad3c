"""A labelled set that needs no network: what Python's standard library says of itself, by topic."""

from __future__ import annotations

import importlib
import inspect
import json
import warnings
from collections.abc import Iterator
from types import ModuleType

from tokenseek_common import InputError
from tokenseek_common.data import TaskSample, labelled_text_task

NAME = "docstrings"
SPLITS = ("train", "validation")

_MODULES = {
    "numbers": ("math", "cmath", "decimal", "fractions", "statistics", "random", "colorsys"),
    "text": ("string", "re", "textwrap", "difflib", "html.parser", "unicodedata", "gettext"),
    "files": ("os.path", "pathlib", "shutil", "tempfile", "zipfile", "tarfile", "filecmp"),
    "network": ("socket", "http.client", "urllib.request", "smtplib", "ftplib", "ipaddress"),
    "concurrency": ("threading", "asyncio", "queue", "concurrent.futures", "sched"),
    "dates": ("datetime", "calendar", "time", "zoneinfo"),
    "testing": ("unittest", "unittest.mock", "doctest"),
}
"""They are there, and import in silence, in every Python from 3.11 on."""

_FEWEST_WORDS = 5  # fewer are a signature or a pointer to somewhere else
_MOST_WORDS = 32  # the beginning tells the topic, and is fast to learn from
_EACH = 64  # of every topic; more would not let a first run end within a minute

DOCSTRINGS = labelled_text_task(NAME, tuple(_MODULES))
"""Which topic of the standard library a docstring is about."""


def docstring_samples(split: str) -> list[TaskSample]:
    """Read what is public in the modules of every topic, always in the same order.

    Args:
        split: "train", or "validation", which is every fifth.

    Returns:
        As many of each topic: the beginnings of docstrings from all over its modules. What stands
        in two topics is taken once, from the first.

    Raises:
        InputError: Python was started with -OO, which strips docstrings, or there is no such split.

    Example:
        >>> docstring_samples("train")[0].target
        'numbers'
    """
    if not inspect.getdoc(json.dumps):
        raise InputError(
            f"task ({NAME}) must find docstrings, which -OO strips; run Python without it, or "
            "give --task a file"
        )
    if split not in SPLITS:
        raise InputError(
            f"split ({split}) must be {' or '.join(SPLITS)} of {NAME}; choose one of them"
        )
    told: set[str] = set()
    samples = []
    for topic, names in _MODULES.items():
        modules = [importlib.import_module(name) for name in names]
        words = (text.split() for module in modules for text in _texts(module))
        texts = {
            " ".join(found[:_MOST_WORDS]): None for found in words if len(found) > _FEWEST_WORDS
        }
        new = [text for text in texts if text not in told]
        told.update(new)
        for number in range(_EACH):
            if (number % 5 == 4) == (split == "validation"):
                text = new[number * len(new) // _EACH]
                samples.append(TaskSample(DOCSTRINGS, {"text": text}, DOCSTRINGS.labels, (topic,)))
    return samples


def _texts(module: ModuleType) -> Iterator[str]:
    """The docstrings of a module's own functions, classes and methods."""
    for name in sorted(getattr(module, "__all__", vars(module))):
        with warnings.catch_warnings(action="ignore"):  # to read a deprecated name warns
            member = getattr(module, name, None)
        package = module.__name__.partition(".")[0]
        # Without __all__ what a module imports looks like its own; its C part is its own.
        origin = str(getattr(member, "__module__", "")).lstrip("_").partition(".")[0]
        own = hasattr(module, "__all__") or origin == package
        if not own or name.startswith("_"):
            continue
        if inspect.isroutine(member):
            yield inspect.cleandoc(member.__doc__ or "")
        elif inspect.isclass(member):
            yield inspect.cleandoc(member.__doc__ or "")
            for method, defined in sorted(vars(member).items()):
                if not method.startswith("_") and hasattr(type(defined), "__get__"):
                    yield inspect.cleandoc(defined.__doc__ or "")
