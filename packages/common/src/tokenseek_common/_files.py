"""Files replaced as a whole."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from tokenseek_common._errors import InputError


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Write a file as a whole: whatever ends the process, a reader finds the old or the new one.

    Args:
        path: The file; of a link, what it points to is replaced.

    Yields:
        Where to write instead: beside the file, which it becomes when the block ends well.

    Raises:
        InputError: It cannot be written.

    Example:
        >>> with replacing(Path("result.json")) as part:
        ...     part.write_text("{}")
    """
    target = Path(os.path.realpath(path))
    part = target.with_name(f".{secrets.token_hex(8)}.part")  # a replacement must not cross disks
    try:
        if target.exists() and not os.access(target, os.W_OK):
            # Only the folder's permissions would count below.
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        try:
            yield part
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(
            f"{path} must be writable ({error.strerror}); make its folder or choose another path"
        ) from error
