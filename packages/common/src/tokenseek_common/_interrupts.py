"""Ctrl-C in a command line, from its first import on."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def interruptible() -> Iterator[None]:
    """Let Ctrl-C end a command line in one sentence, also while it imports.

    Elsewhere it raises KeyboardInterrupt, as always. Libraries that look for others in an import
    may swallow that, or turn it into an error of their own; nothing is half written then, so the
    process ends there and then, with exit code 130.

    Example:
        >>> with interruptible():
        ...     import torch
    """
    if threading.current_thread() is not threading.main_thread():  # which has no signals
        yield
        return
    before = signal.signal(signal.SIGINT, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _interrupt(number: int, frame: FrameType | None) -> None:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            os.write(2, b"error: interrupted\n")
            os._exit(130)
        frame = frame.f_back
    raise KeyboardInterrupt
