"""SIGTERM while the Trainer runs, and after it."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def sigterm_restored() -> Iterator[None]:
    """Give SIGTERM back its meaning after the block.

    With `enable_jit_checkpoint` the Trainer saves on SIGTERM, and gives the signal back on success
    only.

    Example:
        >>> with sigterm_restored():
        ...     trainer.train()
    """
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
