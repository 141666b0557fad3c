"""The folder that a training writes to: held by one run alone, and told of where it cannot be."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from tokenseek_common._errors import InputError, RunError
from tokenseek_common.training._processes import is_of_others

_LOCK = ".running"
_LITTLE = 1 << 20  # bytes; a disk with less is full to whoever writes weights


@contextlib.contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Hold a run's folder, so that no other run trains there at the same time.

    However the process ends, the folder is free again.

    Args:
        folder: It exists.

    Raises:
        InputError: Another run holds it, or nothing can be written there.

    Example:
        >>> with claimed(Path("run")):
        ...     train()
    """
    lock = FileLock(folder / _LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise InputError(
            f"output ({folder}) must not be in use, and another run trains there; wait for it, or "
            "choose another --output"
        ) from None
    except NotImplementedError:  # the file system has no locks
        yield
        return
    except OSError as error:
        raise InputError(
            f"{folder / _LOCK} must be writable ({error.strerror}); make its folder or choose "
            "another path"
        ) from error
    try:
        yield
    finally:
        (folder / _LOCK).unlink(missing_ok=True)  # while it is ours
        lock.release()


@contextlib.contextmanager
def saving(folder: Path, remedy: str) -> Iterator[None]:
    """Tell in a sentence that a run could not be saved.

    Args:
        folder: Of the run.
        remedy: How to go on with what is there, once there is room.

    Raises:
        RunError: It could not; files that were begun are there.

    Example:
        >>> with saving(Path("run"), "go on with --resume"):
        ...     model.save_pretrained("run")
    """
    try:
        yield
    except (InputError, RunError):
        raise
    except Exception as error:  # torch, safetensors and Python each have errors of their own
        if is_of_others(error):
            raise
        free = shutil.disk_usage(folder).free
        said = next(iter(str(error).splitlines()), "") or type(error).__name__
        reason = "no space is left" if free < _LITTLE else said
        raise RunError(
            f"output ({folder}) must be writable, and could not be saved to ({reason}); make room "
            f"there, and {remedy}"
        ) from error
