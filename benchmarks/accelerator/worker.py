"""A process that measures cells: one that hangs, or takes the process with it, costs nothing else.

It stays between cells, since the libraries take longer to load than most cells to measure. A cell
that goes on too long ends it from within, so that it can still say where it was.
"""

from __future__ import annotations

import faulthandler
import importlib
import multiprocessing
import os
import re
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

GRACE = 10.0
"""Seconds that a process has to end itself, beyond its limit."""

Figures = dict[str, Any]


class Absent(Exception):  # noqa: N818 - no error: a cell is passed over
    """What a cell needs is not on this machine."""


@dataclass(frozen=True)
class Answer:
    """What came of a cell.

    Args:
        kind: Whether it was measured, what it needs is not here, or it failed.
        figures: What was measured.
        reason: A line on why not.
        seconds: How long it took.
    """

    kind: Literal["measured", "absent", "failed"]
    figures: Figures
    reason: str
    seconds: float


class Worker:
    """A process for one cell at a time; a new one takes its place after a failure.

    Args:
        warm_up: A function, `module:name`, that each process calls first: what it loads is not
            counted as any cell's time.
    """

    def __init__(self, warm_up: str) -> None:
        self._warm_up = warm_up
        self._process: Any = None
        self._connection: Any = None
        self._log: Path | None = None

    def ask(
        self, function: str, arguments: Mapping[str, Any], *, limit: float, end: float
    ) -> Answer:
        """Call a function in the process, and end the process where that takes too long.

        Args:
            function: What to call, `module:name`.
            arguments: By name.
            limit: Seconds that it may take.
            end: When it must be over in any case, on time's monotonic clock.
        """
        if self._process is None:
            self._start()
            warmed = self._call(self._warm_up, {}, end - time.monotonic())
            if warmed.kind != "measured":
                return warmed
        return self._call(function, arguments, min(limit, end - time.monotonic()))

    def _call(self, function: str, arguments: Mapping[str, Any], limit: float) -> Answer:
        begin = time.monotonic()
        limit = max(limit, 0.01)  # faulthandler takes no 0
        kind, content = self._exchange((function, dict(arguments), limit))
        seconds = time.monotonic() - begin
        if kind == "measured":
            return Answer("measured", content, "", seconds)
        if kind == "failed":
            self.close()
        return Answer(kind, {}, without_paths(content), seconds)

    def close(self) -> None:
        """End the process, whatever it does."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._connection.close()
            assert self._log is not None
            self._log.unlink()
            self._process = None

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")  # a forked one could not use the device
        handle, name = tempfile.mkstemp(suffix=".log")
        os.close(handle)
        self._log = Path(name)
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs, name), daemon=True)
        self._process.start()
        theirs.close()

    def _exchange(self, asked: tuple[str, dict[str, Any], float]) -> tuple[Any, Any]:
        limit = asked[2]
        try:
            self._connection.send(asked)
            if self._connection.poll(limit + GRACE):
                return self._connection.recv()  # type: ignore[no-any-return]
        except (EOFError, OSError):
            self._process.join(GRACE)
        assert self._log is not None
        place = where(self._log.read_text(encoding="utf-8", errors="replace"))
        code = self._process.exitcode
        reason = f"no end within {limit:.3g} s" if code in (None, 1) else f"ended with code {code}"
        return "failed", f"{reason}, in {place}" if place else reason


def serve(connection: Connection, log: str) -> None:
    """Answer until the other side is gone; runs in the process."""
    from accelerator.sources import use_sources  # spawn has given this process the same path

    use_sources()
    file = Path(log).open("w", encoding="utf-8")  # noqa: SIM115 - as long as the process
    os.dup2(file.fileno(), sys.stderr.fileno())
    faulthandler.enable(file)
    while True:
        try:
            function, arguments, limit = connection.recv()
        except EOFError:
            return
        faulthandler.dump_traceback_later(limit, exit=True, file=file)
        answer = call(function, arguments)
        faulthandler.cancel_dump_traceback_later()
        connection.send(answer)


def call(function: str, arguments: dict[str, Any]) -> tuple[str, Any]:
    """Call it, and say in a word what came of it."""
    module, name = function.split(":")
    try:
        return "measured", getattr(importlib.import_module(module), name)(**arguments)
    except Absent as absent:
        return "absent", str(absent)
    except ModuleNotFoundError as error:
        return "absent", f"{error.name} is not installed"
    except ImportError as error:
        return "absent", str(error)
    except Exception as error:  # whatever it is, the other cells are measured
        return "failed", f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def where(log: str) -> str:
    """The innermost places of the main thread, from what faulthandler wrote."""
    _, *threads = re.split(r"^(?:Current thread|Thread) .*$", log, flags=re.MULTILINE)
    if not threads:
        return ""
    frames = re.findall(r'File "(?:[^"]*/)?([^"/]+)", line (\d+) in (\S+)', threads[-1])
    return " < ".join(f"{file}:{line} {name}" for file, line, name in frames[:4])


def without_paths(text: str) -> str:
    """A line of no machine in particular."""
    return re.sub(r"(?:/[\w.+@-]+)+/", "", text)
