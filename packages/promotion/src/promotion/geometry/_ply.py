"""Clouds of points as ``.ply`` files, which viewers of meshes and clouds open.

Source:
    http://paulbourke.net/dataformats/ply/
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from jaxtyping import Float
from torch import Tensor

from promotion.io._files import replace_file
from promotion.viz._pillow import to_bytes
from tokenseek_common import InputError


def write_ply(
    path: str | os.PathLike[str],
    points: Float[Tensor, "3 n"],
    colours: Float[Tensor, "3 _"],
    motion: Float[Tensor, "3 _"] | None = None,
) -> None:
    """Write a cloud of points, replacing the file as a whole.

    Args:
        path: Ends in ``.ply``.
        points: x, y and z.
        colours: Red, green and blue, in [0, 1].
        motion: vx, vy and vz, in the unit of the points, as further numbers of each.

    Raises:
        InputError: The suffix is another, the arrays are not of the same points, a number is not
            finite, or the file cannot be written.

    Example:
        >>> write_ply("cloud.ply", torch.rand(3, 100), torch.rand(3, 100))
    """
    path = Path(path)
    if path.suffix.lower() != ".ply":
        raise InputError(f"{path} must end in .ply; rename it")
    given = {"points": points, "colours": colours}
    given |= {} if motion is None else {"motion": motion}
    for name, values in given.items():
        if values.shape[1] != points.shape[1]:
            raise InputError(
                f"{name} ({values.shape[1]}) must be as many as points ({points.shape[1]}); take "
                "all of one frame"
            )
        if not values.isfinite().all():
            raise InputError(f"{name} must be finite; leave out what is not known")
    floats = [*"xyz", *([] if motion is None else ["vx", "vy", "vz"])]
    channels = ["red", "green", "blue"]
    record = np.dtype([*((name, "<f4") for name in floats), *((name, "u1") for name in channels)])
    rows = np.empty(points.shape[1], record)
    numbers = [*points, *([] if motion is None else motion)]
    for name, column in zip(floats, numbers, strict=True):
        rows[name] = column.detach().cpu().numpy()
    for name, column in zip(channels, to_bytes(colours[:, None])[:, 0], strict=True):
        rows[name] = column.numpy()
    header = [
        "ply",
        "format binary_little_endian 1.0",
        f"element vertex {len(rows)}",
        *(f"property float {name}" for name in floats),
        *(f"property uchar {name}" for name in channels),
        "end_header",
    ]
    replace_file(path, "\n".join(header).encode() + b"\n" + rows.tobytes())
