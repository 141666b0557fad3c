"""How far a run has come: a bar on a terminal, about ten lines elsewhere."""

from __future__ import annotations

import time
from types import TracebackType

from rich import progress as rich
from rich.console import Console as RichConsole

_LINES = 10  # in a log file, where a bar cannot be redrawn


class Progress:
    """A context that is advanced as the work goes on; made by `Console.progress`.

    Args:
        description: What is being done, such as ``"training"``.
        total: How many steps there will be; None if nobody knows.
        target: Where to draw; None draws nothing.

    Example:
        >>> with console.progress("training", total=100) as progress:
        ...     for step in range(100):
        ...         progress.advance(loss=0.5)
    """

    def __init__(
        self, description: str, total: int | None = None, *, target: RichConsole | None = None
    ) -> None:
        self.done = 0
        self._description = description
        self._total = total
        self._target = target
        self._bar: rich.Progress | None = None
        self._started = time.monotonic()
        self._next_line = self._line_after(0)

    def __enter__(self) -> Progress:
        if self._target is not None and self._target.is_terminal:
            self._bar = rich.Progress(
                rich.TextColumn("{task.description}", markup=False),
                rich.BarColumn(),
                rich.MofNCompleteColumn(),
                rich.TimeElapsedColumn(),
                rich.TimeRemainingColumn(),
                rich.TextColumn("{task.fields[figures]}", markup=False),
                console=self._target,
            )
            self._task = self._bar.add_task(self._description, total=self._total, figures="")
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self, steps: int = 1, **figures: float) -> None:
        """Count steps as done.

        Args:
            steps: How many.
            figures: Numbers to show beside the bar, such as ``loss=0.5``.
        """
        self.done += steps
        shown = "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
        if self._bar is not None:
            self._bar.update(self._task, advance=steps, figures=shown)
        elif self._target is not None and self.done >= self._next_line:
            self._next_line = self._line_after(self.done)
            self._target.print(self._line(shown), markup=False, highlight=False, soft_wrap=True)

    def _line(self, shown: str) -> str:
        of = "" if self._total is None else f"/{self._total}"
        elapsed = f"{time.monotonic() - self._started:.0f} s"
        return "  ".join(filter(None, (f"{self._description} {self.done}{of}", elapsed, shown)))

    def _line_after(self, done: int) -> int:
        """The step of the next line: every tenth of a known total, else at every doubling."""
        if self._total is None:
            return max(1, 2 * done)
        tenths = done * _LINES // max(1, self._total) + 1
        return -(-self._total * tenths // _LINES)  # rounded up
