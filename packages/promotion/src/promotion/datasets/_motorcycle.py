"""The stereo pair that comes with scikit-image."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import torch

from promotion.datasets._files import flow_of_disparity
from promotion.datasets._sample import Sample
from tokenseek_common import InputError

_FOCAL_LENGTH = 994.978  # pixels
_BASELINE = 0.193001  # metres
_OFFSET = 31.086  # pixels, by which the cameras' centres differ


def motorcycle() -> Sample:
    """Middlebury 2014's Motorcycle at a quarter of its size, 741 x 500, with flow and depth.

    Disparity d is the flow (-d, 0), and depth is f B / (d + offset).

    Raises:
        InputError: If scikit-image is not installed.

    Example:
        >>> motorcycle().image1.shape
        torch.Size([3, 500, 741])
    """
    try:
        pictures: Any = importlib.import_module("skimage.data")
    except ImportError:
        raise InputError(
            'motorcycle must be read from scikit-image, which is absent; pip install "scikit-image"'
        ) from None
    left, right, stored = pictures.stereo_motorcycle()
    disparity = torch.from_numpy(np.ascontiguousarray(stored, dtype=np.float32))
    valid = disparity.isfinite() & (disparity > 0)
    flow = flow_of_disparity(disparity, valid)
    depth = _FOCAL_LENGTH * _BASELINE / (disparity + _OFFSET)
    image1, image2 = (torch.from_numpy(np.array(i)).movedim(-1, 0) / 255 for i in (left, right))
    return Sample(image1, image2, flow.flow, valid, depth.where(valid, 0), valid)
