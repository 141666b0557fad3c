"""A picture, and what the encoder made of it in each view, once."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from promotion._features import Features, Network
from promotion._views import pad, resized

MOST_KEYS = 800
"""Of attention, more than any training picture has cells. Attention to every cell costs the square
of their number, and finds no better flow on generated scenes."""


class SeenPicture:
    """A picture with its features in every view that was asked for.

    Frames of a sequence belong to two pairs each; whoever keeps this encodes them once.

    Args:
        model: In evaluation mode.
        picture: In [0, 1].
    """

    def __init__(self, model: Network, picture: Float[Tensor, "3 h w"]) -> None:
        self.model, self.picture = model, picture
        self._found: dict[float, tuple[Tensor, Features]] = {}

    def at(self, factor: float) -> tuple[Float[Tensor, "3 i j"], Features]:
        """The picture in a view, and its features there, whose cells cover the padding too."""
        if factor not in self._found:
            view = resized(self.picture, factor)
            found = self.model.extract(pad(view).to(self._dtype)[None], most_keys=MOST_KEYS)
            self._found[factor] = view, found
        return self._found[factor]

    @property
    def _dtype(self) -> torch.dtype:
        return self.model.flow.moved.weight.dtype
