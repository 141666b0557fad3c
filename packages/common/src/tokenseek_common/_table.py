"""Bytes and rows as plain text."""

from collections.abc import Sequence

_STEP = 1024
_UNITS = ("KiB", "MiB", "GiB", "TiB")


def format_bytes(count: int) -> str:
    """Writes a number of bytes in the unit that people read.

    Args:
        count: bytes; negative where it is a difference.

    Returns:
        Whole bytes below 1 KiB, one decimal in the largest fitting binary unit above.

    Example:
        >>> format_bytes(13_107_200)
        '12.5 MiB'
    """
    if abs(count) < _STEP:
        return f"{count} B"
    size, unit = float(count), "B"
    for larger in _UNITS:
        # 1023.95 would be written as 1024.0, which is the next unit's 1.0
        if round(abs(size), 1) < _STEP:
            break
        size, unit = size / _STEP, larger
    return f"{size:.1f} {unit}"


def format_share(share: float | None) -> str:
    """Writes a share of one as a percentage.

    Args:
        share: 1.0 for all of it, None where it has no meaning.

    Returns:
        The percentage with one decimal, or ``-``.

    Example:
        >>> format_share(0.125)
        '12.5%'
    """
    return "-" if share is None else f"{100 * share:.1f}%"


def align(rows: Sequence[Sequence[str]]) -> str:
    """Sets rows in columns: the first column to the left, the numbers to the right.

    Args:
        rows: cells of each line; a short row leaves its last columns empty.

    Returns:
        The lines, two blanks between columns, none at the end of a line.

    Example:
        >>> print(align([["kind", "bytes"], ["gradients", "1.0 KiB"]]))
        kind         bytes
        gradients  1.0 KiB
    """
    columns = max((len(row) for row in rows), default=0)
    padded = [[*row, *[""] * (columns - len(row))] for row in rows]
    widths = [max(len(row[column]) for row in padded) for column in range(columns)]
    lines = []
    for row in padded:
        cells = [row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])] if row else []
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
