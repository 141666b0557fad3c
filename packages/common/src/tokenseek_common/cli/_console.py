"""Where a command prints: results, tables, notes and progress, each to the stream it belongs to."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import IO, Any

from rich import box
from rich.console import Console as RichConsole
from rich.table import Table
from rich.text import Text

from tokenseek_common.cli._progress import Progress

_WIDTH = 160  # of what is written to a file or a pipe, where no terminal sets a width


class Console:
    """Where a command prints.

    Tables and prints go to stdout, notes, progress and errors to stderr. With ``json`` stdout is
    left to the result alone and tables and prints go to stderr too.

    Args:
        quiet: Print the result (if json) and errors only.
        json: Print the result as JSON.
        stdout: Where results go; by default the process's own.
        stderr: Where everything else goes; by default the process's own.

    Example:
        >>> console = Console()
        >>> console.table("Memory", ["part", "MiB"], [["weights", 12.5], ["activations", 80]])
    """

    def __init__(
        self,
        *,
        quiet: bool = False,
        json: bool = False,
        stdout: IO[str] | None = None,
        stderr: IO[str] | None = None,
    ) -> None:
        self.quiet = quiet
        self.json = json
        self._stdout = sys.stdout if stdout is None else stdout
        self._stderr = sys.stderr if stderr is None else stderr
        self._errors = _rich_console(self._stderr)
        self._human = self._errors if json else _rich_console(self._stdout)
        self._has_result = False
        self._muted = False

    def mute(self) -> None:
        """Print errors alone from now on: of several processes, another one tells the rest."""
        self.quiet = self._muted = True

    def print(self, *values: object) -> None:
        """Print values as they are, without markup."""
        if not self.quiet:
            line = " ".join(map(str, values))  # rich would spread a list over lines
            self._human.print(line, markup=False, highlight=False, soft_wrap=True)

    def note(self, text: str) -> None:
        """Print a remark about the run, on stderr."""
        if not self.quiet:
            self._errors.print(text, style="dim", markup=False, highlight=False, soft_wrap=True)

    def error(self, text: str) -> None:
        """Print ``error: <text>`` on stderr, quiet or not."""
        line = f"error: {text}"
        self._errors.print(line, style="red", markup=False, highlight=False, soft_wrap=True)

    def table(self, title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Print a table.

        Args:
            title: Above the table.
            columns: Their headings, with units where there are any.
            rows: As many values as columns, each; a column of numbers is aligned to the right, and
                a float is shown with four digits.
        """
        if self.quiet:
            return
        body = [list(row) for row in rows]
        table = Table(title=Text(title), title_justify="left", box=box.SIMPLE)
        for position, column in enumerate(columns):
            numeric = bool(body) and all(_is_number(row[position]) for row in body)
            table.add_column(Text(column), justify="right" if numeric else "left")
        for row in body:
            # As Text, since a string would be searched for markup such as [0].
            table.add_row(*(Text(_shown(value)) for value in row))
        self._human.print(table)

    def progress(self, description: str, total: int | None = None) -> Progress:
        """A bar on stderr, to be used with ``with``; nothing if quiet or json.

        Args:
            description: What is being done, such as ``"training"``.
            total: How many steps there will be; None if nobody knows.

        Returns:
            The context; call its ``advance`` after each step.
        """
        target = None if self.quiet or self.json else self._errors
        return Progress(description, total, target=target)

    def result(self, result: Mapping[str, Any]) -> None:
        """Give the result of the command; with ``json`` it is printed, as one object on a line.

        Args:
            result: Names and values. Paths become text, dataclasses objects, scalars of torch and
                numpy numbers; what is not finite becomes null, since JSON has no word for it.

        Raises:
            RuntimeError: If there was a result before: a reader expects one object.
        """
        if self._has_result:
            raise RuntimeError("result must be given once; gather the values in one mapping")
        self._has_result = True
        if self.json and not self._muted:
            line = json.dumps(_jsonable(result), allow_nan=False)
            self._stdout.write(f"{line}\n")
            self._stdout.flush()


def _rich_console(stream: IO[str]) -> RichConsole:
    console = RichConsole(file=stream)
    if not console.is_terminal:
        console = RichConsole(file=stream, width=_WIDTH)
    return console


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _jsonable(value: Any) -> Any:
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(name): _jsonable(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_jsonable(entry) for entry in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: _jsonable(getattr(value, field.name)) for field in dataclasses.fields(value)
        }
    if isinstance(value, PurePath):
        return str(value)
    if hasattr(value, "tolist"):  # tensors and arrays, and their scalars
        return _jsonable(value.tolist())
    return str(value)  # torch.dtype, torch.device and the like
