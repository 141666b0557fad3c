"""Rotations from their vectors."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float


def rotation(vector: Float[np.ndarray, "3"]) -> Float[np.ndarray, "3 3"]:
    """The turn about a vector by its length in radians (Rodrigues' formula)."""
    angle = float(np.linalg.norm(vector))
    x, y, z = vector
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    # np.sinc(a / pi) is sin(a) / a, also at 0
    first, second = np.sinc(angle / np.pi), 0.5 * np.sinc(angle / (2 * np.pi)) ** 2
    turn: Float[np.ndarray, "3 3"] = np.eye(3) + first * cross + second * cross @ cross
    return turn
