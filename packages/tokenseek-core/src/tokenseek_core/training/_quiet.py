"""One voice on the screen: ours, while transformers trains."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from tokenseek_common.cli import Console
from tokenseek_common.training import transformers_quiet


@contextmanager
def libraries_quiet(console: Console) -> Iterator[None]:
    """Keep transformers' remarks and bars off the screen; pass remarks about the data on."""
    data_logger = logging.getLogger("tokenseek_common.data")
    notes = Notes(console)
    data_logger.addHandler(notes)
    try:
        with transformers_quiet():
            yield
    finally:
        data_logger.removeHandler(notes)


class Notes(logging.Handler):
    """Hands log records to the console as notes."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self.console = console

    def emit(self, record: logging.LogRecord) -> None:
        """Print the message alone."""
        self.console.note(record.getMessage())
