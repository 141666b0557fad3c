"""One voice on the screen: ours, while the libraries load and train."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from tokenseek_common.cli import Console
from tokenseek_common.training import transformers_quiet


@contextmanager
def libraries_quiet(console: Console | None = None) -> Iterator[None]:
    """Keep remarks and bars of the libraries off the screen; what matters, they raise.

    Args:
        console: Where warnings are told, as notes; without it, by Python with file and line.
    """
    with transformers_quiet(), warnings.catch_warnings():
        # peft 0.21 asks transformers 5.23 by an old name.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        if console is not None:
            tell = console.note
            warnings.showwarning = lambda message, *_, **__: tell(str(message))
        yield
