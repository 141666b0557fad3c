"""An instruction set that needs no network: what Python's standard library says of itself."""

from __future__ import annotations

import importlib
import inspect
import json
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from tokenseek_common import InputError
from tokenseek_common.data import Message, Record

TRAIN_MODULES = (
    *("argparse", "ast", "base64", "bisect", "cmath", "codecs", "collections", "configparser"),
    *("copy", "csv", "dataclasses", "datetime", "decimal", "email.utils", "enum", "filecmp"),
    *("fnmatch", "fractions", "functools", "glob", "gzip", "hashlib", "html", "inspect", "io"),
    *("json", "linecache", "locale", "logging", "math", "mimetypes", "operator", "os", "os.path"),
    *("pathlib", "pickle", "platform", "queue", "random", "re", "signal"),
    *("socket", "string", "struct", "subprocess", "sys", "tarfile", "tempfile", "threading"),
    *("time", "timeit", "tokenize", "traceback", "types", "typing", "unicodedata", "urllib.parse"),
    *("uuid", "warnings", "weakref", "zipfile"),
)
"""They are there, and import in silence, in every Python from 3.11 on."""

HELD_OUT_MODULES = (
    *("calendar", "contextlib", "difflib", "heapq", "ipaddress", "itertools", "shutil"),
    *("statistics", "textwrap"),
)
"""Nothing is trained on these: a model that learns them by heart would gain nothing."""

_LEAST_WORDS = 12  # fewer are a signature or a pointer to somewhere else


@dataclass(frozen=True)
class Docstrings:
    """The instruction set, split by module.

    Args:
        train: Records of `TRAIN_MODULES`.
        held_out: Records of `HELD_OUT_MODULES`; none of their answers is in `train`.
    """

    train: list[Record]
    held_out: list[Record]


def docstrings() -> Docstrings:
    """Read the public functions and classes of both lists of modules, always in the same order.

    Raises:
        InputError: Python was started with -OO, which strips docstrings.

    Example:
        >>> docstrings().train[0].messages[0].content
        'Explain `argparse.Action`.'
    """
    if not inspect.getdoc(json.dumps):
        raise InputError(
            "docstrings (none) must be there, the demo learns from them; run Python without -OO"
        )
    told: set[str] = set()  # what one module hands on from another is told once
    return Docstrings(_records(TRAIN_MODULES, told), _records(HELD_OUT_MODULES, told))


def _records(modules: Sequence[str], told: set[str]) -> list[Record]:
    """One record for each docstring that is not yet in `told`."""
    records = []
    for name, text in _documented(modules):
        if text not in told and len(text.split()) >= _LEAST_WORDS:
            told.add(text)
            asked = Message("user", f"Explain `{name}`.")
            records.append(Record((asked, Message("assistant", text))))
    return records


def _documented(modules: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Full names and docstrings of all that is public."""
    for module_name in modules:
        module = importlib.import_module(module_name)
        for name in sorted(getattr(module, "__all__", vars(module))):
            with warnings.catch_warnings(action="ignore"):  # to read a deprecated name warns
                member = getattr(module, name, None)
            if not (inspect.isroutine(member) or inspect.isclass(member)):
                continue
            # Without __all__ what a module imports looks like its own; its C part is its own.
            origins = (module_name, f"_{module_name}")
            own = hasattr(module, "__all__") or getattr(member, "__module__", "") in origins
            # Asked of the member itself: getdoc alone would take a docstring from a base class.
            if own and not name.startswith("_") and member.__doc__:
                yield f"{module_name}.{name}", inspect.getdoc(member) or ""
