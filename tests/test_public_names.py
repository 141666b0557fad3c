from __future__ import annotations

import ast
import importlib
import inspect
import typing
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from api_surface import public_names, surface
from workspace import MODULES


def public_things(package: str) -> Iterator[tuple[str, ModuleType, str, Any]]:
    """Each public name of a package: in full, where it is told, its own name, what it is."""
    for module_name, names in surface(package).items():
        module = importlib.import_module(module_name)
        for name in names:
            yield f"{module_name}.{name}", module, name, getattr(module, name)


def methods_of(thing: type) -> Iterator[Any]:
    """The functions that a class of ours defines itself, a property's getter too."""
    for member in vars(thing).values():
        if isinstance(member, property):
            yield member.fget
        elif isinstance(member, classmethod | staticmethod):
            yield member.__func__
        elif inspect.isfunction(member) and member.__code__.co_filename != "<string>":
            yield member  # a dataclass makes methods out of strings, with other modules' names


def own_parts(thing: type) -> Iterator[type]:
    """A class and its bases by their fields alone, those of other libraries left out."""
    for base in thing.__mro__:
        if base.__module__.partition(".")[0] in MODULES:
            fields = {"__annotations__": inspect.get_annotations(base)}
            yield type(base.__qualname__, (), {"__module__": base.__module__, **fields})


def described_aliases(module: ModuleType) -> set[str]:
    """Names of a module that are assigned and have a string below, as fields have."""
    assert module.__file__ is not None
    body = ast.parse(Path(module.__file__).read_text(encoding="utf-8")).body
    found = set()
    for statement, below in pairwise(body):
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            targets = statement.targets if isinstance(statement, ast.Assign) else []
            if isinstance(statement, ast.AnnAssign):
                targets = [statement.target]
            found |= {target.id for target in targets if isinstance(target, ast.Name)}
    return found


def origin_of(name: str, module: ModuleType) -> ModuleType:
    """The private module that a public name of a package is imported from."""
    assert module.__file__ is not None
    stub = Path(module.__file__).with_suffix(".pyi")
    source = stub if stub.exists() else Path(module.__file__)
    body = ast.parse(source.read_text(encoding="utf-8")).body
    for statement in [found for found in body if isinstance(found, ast.ImportFrom)]:
        if any(alias.name == name for alias in statement.names):
            prefix = f"{module.__name__}." if statement.level else ""
            return origin_of(name, importlib.import_module(f"{prefix}{statement.module}"))
    return module


@pytest.mark.parametrize("package", MODULES)
def test_annotations_of_public_names_resolve_when_a_program_asks_for_them(package: str) -> None:
    unresolved = []
    for full_name, _, _, thing in public_things(package):
        if not (inspect.isclass(thing) or inspect.isfunction(thing)):
            continue
        for asked in (
            (*own_parts(thing), *methods_of(thing)) if inspect.isclass(thing) else (thing,)
        ):
            try:
                typing.get_type_hints(asked)
            except NameError as error:
                unresolved.append(f"{full_name} ({getattr(asked, '__qualname__', asked)}: {error})")
    assert not unresolved, "; ".join(unresolved)


@pytest.mark.parametrize("package", MODULES)
def test_every_public_name_says_what_it_is(package: str) -> None:
    silent = []
    for full_name, module, name, thing in public_things(package):
        if name == "__version__":
            continue
        if inspect.isclass(thing) or inspect.isroutine(thing):
            said = bool(thing.__doc__) and not (thing.__doc__ or "").startswith(f"{name}(")
        else:
            said = name in described_aliases(origin_of(name, module))
        if not said:
            silent.append(full_name)
    assert not silent, f"{silent} must have docstrings; an alias has its string below it"


@pytest.mark.parametrize("package", MODULES)
def test_every_package_tells_its_version(package: str) -> None:
    assert "__version__" in public_names(package)


@pytest.mark.parametrize("package", MODULES)
def test_a_stub_lists_the_names_that_are_there(package: str) -> None:
    for module_name, names in surface(package).items():
        module = importlib.import_module(module_name)
        stub = Path(module.__file__ or "").with_suffix(".pyi")
        if stub.exists():
            (listed,) = (
                ast.literal_eval(statement.value)
                for statement in ast.parse(stub.read_text(encoding="utf-8")).body
                if isinstance(statement, ast.Assign)
            )
            assert sorted(listed) == names, f"{stub} must list the public names of {module_name}"
