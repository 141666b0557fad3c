"""What is raised for a file that is not what its name says."""

from __future__ import annotations

from tokenseek_common import InputError

LONGEST = 200
"""Letters of a library's words in ours; numpy puts all that it could not read into its own."""


class FileFormatError(InputError):
    """A file breaks the rules of its format, or its format cannot hold what it should.

    Its text is one sentence, ``<path> must <rule>; <way out>``.

    Example:
        >>> read_flow("half.flo")
        Traceback (most recent call last):
        promotion.io._errors.FileFormatError: half.flo must hold 8 x 4 pixels of 2 numbers, 256
        bytes after its header (128 found); fetch or write it again
    """


def reason(error: BaseException) -> str:
    """What a library says, in one line of bearable length, or at least how it calls it."""
    said = " ".join(str(error).split())
    return f"{said[:LONGEST]}..." if len(said) > LONGEST else said or type(error).__name__
