"""An instruction set that needs no network: what Python's standard library says of itself."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import textwrap
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

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
    """An instruction set, split by module.

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


def functions() -> Docstrings:
    """Read the source of public functions; the answer is what the docstring begins with.

    The prompts are long and the answers short, and what to answer must be read off the prompt.
    Where the standard library comes without its source there are none.

    Example:
        >>> functions().train[0].messages[1].content
        'Encode the bytes-like object s using Base64 and return a bytes object.'
    """
    told: set[str] = set()
    return Docstrings(_questions(TRAIN_MODULES, told), _questions(HELD_OUT_MODULES, told))


def _questions(modules: Sequence[str], told: set[str]) -> list[Record]:
    """One record for each function whose answer is not yet in `told`."""
    records = []
    for name, member in _public(modules):
        answer = (inspect.getdoc(member) or "").partition("\n\n")[0]
        source = _undocumented(member)
        if source and answer and answer not in told:
            told.add(answer)
            asked = f"What does `{name}` do?\n\n{source}"
            records.append(Record((Message("user", asked), Message("assistant", answer))))
    return records


def _undocumented(member: object) -> str | None:
    """The source of a function without its docstring; None where there is none."""
    if not inspect.isfunction(member):
        return None
    try:
        (function,) = ast.parse(textwrap.dedent(inspect.getsource(member))).body
    except (OSError, SyntaxError, TypeError, ValueError):
        return None
    if not isinstance(function, ast.FunctionDef) or ast.get_docstring(function) is None:
        return None
    function.body = function.body[1:] or [ast.Pass()]
    return ast.unparse(function)


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
    return ((name, inspect.getdoc(member) or "") for name, member in _public(modules))


def _public(modules: Iterable[str]) -> Iterator[tuple[str, Any]]:
    """All that is public and has a docstring, by full names."""
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
                yield f"{module_name}.{name}", member
