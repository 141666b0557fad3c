"""One voice on the screen: ours, while transformers loads and trains."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def transformers_quiet() -> Iterator[None]:
    """Keep transformers' remarks and bars off the screen; what matters, it raises.

    Example:
        >>> with transformers_quiet():
        ...     trainer.train()  # doctest: +SKIP
    """
    from transformers.utils import logging  # only those who train have it

    verbosity = logging.get_verbosity()
    bars = logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if bars:
            logging.enable_progress_bar()
        logging.set_verbosity(verbosity)
