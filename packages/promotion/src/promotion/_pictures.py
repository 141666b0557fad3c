"""What users hand over as pictures, and the tensors that the model sees."""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from promotion.io import read_image
from tokenseek_common import InputError

SMALLEST_SIDE = 16
"""Pixels of the shorter side that a picture must have."""

Picture: TypeAlias = str | Path | np.ndarray | Image.Image | Tensor
"""A path, a PIL image, an array `[h, w, 3]` or grey `[h, w]`, or a tensor `[3, h, w]`; of uint8, or
of floats in [0, 1]."""


def as_picture(given: Picture, name: str) -> Float[Tensor, "3 h w"]:
    """A picture as a tensor of floats in [0, 1].

    Args:
        given: Whatever the user has.
        name: What errors call it.

    Raises:
        InputError: Its shape, size, type or a value cannot be used.
    """
    if isinstance(given, str | Path):
        picture = read_image(Path(given))
    elif isinstance(given, Image.Image):
        picture = _of_array(np.asarray(given.convert("RGB")), name)
    elif isinstance(given, np.ndarray):
        picture = _of_array(given, name)
    elif isinstance(given, Tensor):
        picture = given
    else:
        raise InputError(
            f"{name} ({type(given).__name__}) must be a path, an array, a PIL image or a tensor; "
            "convert it"
        )
    if picture.ndim != 3 or picture.shape[0] != 3:
        raise InputError(
            f"{name} ({tuple(picture.shape)}) must be of shape [3, h, w]; permute or convert it"
        )
    if min(picture.shape[-2:]) < SMALLEST_SIDE:
        raise InputError(
            f"{name} ({picture.shape[-2]} x {picture.shape[-1]}) must have at least "
            f"{SMALLEST_SIDE} pixels to each side; enlarge it"
        )
    if picture.dtype == torch.uint8:
        return picture.float() / 255
    if not picture.is_floating_point():
        raise InputError(
            f"{name} ({str(picture.dtype).removeprefix('torch.')}) must be uint8, or floats in "
            "[0, 1]; convert it"
        )
    low, high = (float(bound) for bound in picture.aminmax())
    if not (low >= 0 and high <= 1):  # also where they are not numbers
        raise InputError(
            f"{name} (values from {low:g} to {high:g}) must be finite and in [0, 1]; "
            "divide by its largest possible value"
        )
    return picture.float()


def _of_array(array: np.ndarray, name: str) -> Tensor:
    if array.ndim == 2:  # grey, as grey files are taken
        array = np.repeat(array[..., None], 3, 2)
    if array.ndim != 3 or array.shape[-1] != 3:
        raise InputError(
            f"{name} ({array.shape}) must be of shape [h, w, 3] or [h, w]; convert it to colour"
        )
    return torch.tensor(array).permute(2, 0, 1)
