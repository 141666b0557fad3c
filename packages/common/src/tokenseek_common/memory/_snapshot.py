"""What the allocator of CUDA remembers: every block, and the line of code that asked for it."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from tokenseek_common._errors import InputError

_ENTRIES = 100_000  # allocations and releases that are remembered, the newest


@contextlib.contextmanager
def cuda_snapshot(
    path: Path | str, *, only_if_out_of_memory: bool = False
) -> Iterator[Callable[[], None]]:
    """Writes the state of CUDA's allocator at the end of a block, or when memory runs out in it.

    The file is a pickle for https://pytorch.org/memory_viz, which draws who holds which block; it
    opens in the browser and sends nothing. It contains the paths of source files.

    Args:
        path: the file to write, ``.pickle`` by custom; an existing one is replaced.
        only_if_out_of_memory: whether nothing is written unless memory runs out.

    Yields:
        A function that writes the file there and then.

    Raises:
        InputError: If there is no CUDA, or no folder for the file.

    Example:
        >>> with cuda_snapshot("step.pickle"):  # doctest: +SKIP
        ...     model(batch).sum().backward()
    """
    file = Path(path)
    if not torch.cuda.is_available():
        raise InputError(
            "device (cpu) must be a GPU of CUDA, whose allocator alone remembers its blocks; "
            "on other devices keep the books of a step with ledger(..., timeline=True)"
        )
    if not file.parent.is_dir():
        raise InputError(f"path ({file}) must lie in a folder that exists; make {file.parent}")

    def write() -> None:
        torch.cuda.memory._dump_snapshot(str(file))

    torch.cuda.memory._record_memory_history(max_entries=_ENTRIES)
    try:
        yield write
    except torch.OutOfMemoryError:
        write()
        raise
    else:
        if not only_if_out_of_memory:
            write()
    finally:
        torch.cuda.memory._record_memory_history(enabled=None)
