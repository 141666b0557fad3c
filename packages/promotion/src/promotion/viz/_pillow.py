"""Between tensors and pillow's images."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor


def to_pillow(picture: UInt8[Tensor, "3 h w"]) -> Image.Image:
    """Make an image that pillow can draw on and write."""
    return Image.fromarray(picture.cpu().permute(1, 2, 0).contiguous().numpy())


def from_pillow(image: Image.Image) -> UInt8[Tensor, "3 h w"]:
    """Make a picture of an RGB image."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()


def to_bytes(image: Float[Tensor, "3 h w"]) -> UInt8[Tensor, "3 h w"]:
    """Make a picture of an image in [0, 1]."""
    return (image.detach().cpu().clamp(0, 1) * 255).round().to(torch.uint8)
