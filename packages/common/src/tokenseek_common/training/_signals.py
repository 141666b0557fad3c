"""How a training is asked to end: by SIGTERM or SIGINT, between two steps."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from tokenseek_common._errors import RunError


@contextmanager
def asked_to_end(tell: Callable[[str], object]) -> Iterator[list[int]]:
    """A list that SIGTERM, as machines that are taken away send it, and Ctrl-C make true.

    The first signal is only noted, so that a training can save itself between two steps. A second
    Ctrl-C interrupts at once. After the block both signals mean what they did before.

    Args:
        tell: Is told of a signal in one sentence.

    Yields:
        The signals so far.

    Example:
        >>> with asked_to_end(print) as signals:
        ...     while not signals:
        ...         take_step()
    """
    signals: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if signals and number == signal.SIGINT:
            raise KeyboardInterrupt
        signals.append(number)
        tell("ending after this step, with a checkpoint; Ctrl-C ends at once, without")

    kinds = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(kind, note) for kind in kinds]
    try:
        yield signals
    finally:
        for kind, handler in zip(kinds, before, strict=True):
            signal.signal(kind, handler)


def ended(signals: list[int], told: str) -> RunError | KeyboardInterrupt:
    """What a training raises that was asked to end, and has saved itself.

    Args:
        signals: What asked it to.
        told: How far it came, and how it goes on, in one sentence.

    Returns:
        KeyboardInterrupt where that was Ctrl-C, so that a command line leaves with exit code 130.

    Example:
        >>> raise ended(signals, "training was asked to end at step 5 of 8; go on with --resume")
    """
    return KeyboardInterrupt(told) if signal.SIGINT in signals else RunError(told)
