"""From the arguments of a process to its exit code."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from tokenseek_common._errors import InputError, RunError
from tokenseek_common.cli._console import Console
from tokenseek_common.cli._parsing import parse_options


@runtime_checkable  # the test run checks arguments against their annotations
class Command(Protocol):
    """What `run` runs: a subclass of `CommonOptions` with a ``run`` of its own.

    Example:
        >>> @dataclass(frozen=True, kw_only=True)
        ... class Greet(CommonOptions):
        ...     '''Greet someone.'''
        ...
        ...     name: str = "you"
        ...     '''Who is greeted.'''
        ...
        ...     def run(self, console: Console) -> None:
        ...         console.print(f"Hello, {self.name}")
        ...         console.result({"name": self.name})
    """

    @property
    def quiet(self) -> bool:
        """Print no tables, notes or progress."""

    @property
    def json(self) -> bool:
        """Print the result as JSON."""

    def run(self, console: Console) -> None:
        """Do the work, and print through the console alone."""


@dataclass(frozen=True)
class CommandPlace:
    """Where a command stands, so that the list of commands need not wait for what it imports.

    Args:
        summary: What it does; the first line of the class's docstring.
        module: The module with its class.
        name: The class.

    Example:
        >>> CommandPlace("Train an adapter.", "mept.cli._train", "Train").module
        'mept.cli._train'
    """

    summary: str
    module: str
    name: str

    def load(self) -> Callable[..., Command]:
        """Import the class."""
        command: Callable[..., Command] = getattr(importlib.import_module(self.module), self.name)
        return command


Commands = Mapping[str, Callable[..., Command] | CommandPlace]
"""Commands by name: their classes, or where those stand."""


def run(
    commands: Commands,
    *,
    prog: str,
    description: str,
    version: str,
    argv: Sequence[str] | None = None,
) -> int:
    """Run the command that the arguments name.

    Args:
        commands: Name to dataclass, or to the place of one, in the order in which help lists them.
            The first line of a class's docstring is its summary there, the whole docstring its own
            help. A command has no subcommands of its own.
        prog: The name of the command line, such as ``"mept"``.
        description: What it is for, in one sentence.
        version: For ``--version``.
        argv: The arguments; by default those of the process.

    Returns:
        The exit code: 0, 1 for a run that failed, 2 for input that cannot be used (and for no
        arguments at all), 130 when interrupted. What went wrong is told in one sentence on stderr,
        with a traceback only under ``--debug``.

    Example:
        >>> run({"greet": Greet}, prog="demo", description="Says hello.", version="1",
        ...     argv=["greet", "--name", "Ada"])
        Hello, Ada
        0
    """
    _open_streams()
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    try:
        return _dispatch(arguments, commands, prog, description, version)
    except InputError as error:
        return _failed(str(error), 2, debug=debug)
    except RunError as error:
        return _failed(str(error), 1, debug=debug)
    except KeyboardInterrupt as interrupt:
        return _failed(str(interrupt) or "interrupted", 130, debug=debug)
    except BrokenPipeError:
        # The reader, such as `head`, has seen enough; without this, Python complains at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        said = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
        told = ": ".join(filter(None, (type(error).__name__, said)))
        hint = "" if debug else "; run again with --debug for the traceback"
        return _failed(f"{told}{hint}", 1, debug=debug)


def _open_streams() -> None:
    """Give what is written to a stream that the caller has closed somewhere to go."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115 - until the process ends


def _dispatch(
    arguments: list[str],
    commands: Commands,
    prog: str,
    description: str,
    version: str,
) -> int:
    if not arguments:
        _print_help(Console(json=True), commands, prog, description)  # on stderr
        return 2
    name, *options = arguments
    if name in ("-h", "--help"):
        _print_help(Console(), commands, prog, description)
        return 0
    if name == "--version":
        Console().print(f"{prog} {version}")
        return 0
    if name not in commands:
        raise InputError(_unknown(name, commands, prog))
    try:
        found = commands[name]
        chosen = found.load() if isinstance(found, CommandPlace) else found
        command = parse_options(chosen, options, prog=f"{prog} {name}")
    except SystemExit:  # help has been printed
        return 0
    console = Console(quiet=command.quiet, json=command.json)
    # A library that prints would spoil the JSON on stdout.
    with contextlib.redirect_stdout(sys.stderr if command.json else sys.stdout):
        command.run(console)
    sys.stdout.flush()  # so that a reader that has gone away is noticed here, not at exit
    return 0


def _failed(text: str, code: int, *, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    Console().error(" ".join(text.split()))
    return code


def _unknown(name: str, commands: Commands, prog: str) -> str:
    if name.startswith("-"):
        return f"command ({name}) must come before its options; write {prog} <command> {name}"
    close = difflib.get_close_matches(name, commands, n=1)
    remedy = f"did you mean {close[0]}?" if close else f"see {prog} --help"
    return f"command ({name}) must be one of {', '.join(commands)}; {remedy}"


def _print_help(console: Console, commands: Commands, prog: str, description: str) -> None:
    width = max(map(len, commands))
    lines = (f"  {name:{width}}  {_summary(command)}" for name, command in commands.items())
    console.print(f"usage: {prog} <command> [options]\n\n{description}\n")
    console.print("\n".join(lines))
    console.print(f"\nOptions of a command: {prog} <command> --help. Version: {prog} --version.")


def _summary(command: Callable[..., Command] | CommandPlace) -> str:
    if isinstance(command, CommandPlace):
        return command.summary
    return next(iter((command.__doc__ or "").strip().splitlines()), "")
