"""One voice on the screen: ours, while transformers trains."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from transformers.utils import logging as transformers_logging

from tokenseek_common.cli import Console


@contextmanager
def libraries_quiet(console: Console) -> Iterator[None]:
    """Keep transformers' remarks and bars off the screen; pass remarks about the data on."""
    verbosity = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    data_logger = logging.getLogger("tokenseek_common.data")
    notes = Notes(console)
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    data_logger.addHandler(notes)
    try:
        yield
    finally:
        data_logger.removeHandler(notes)
        if bars:
            transformers_logging.enable_progress_bar()
        transformers_logging.set_verbosity(verbosity)


class Notes(logging.Handler):
    """Hands log records to the console as notes."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self.console = console

    def emit(self, record: logging.LogRecord) -> None:
        """Print the message alone."""
        self.console.note(record.getMessage())
