"""A textured plane in two frames, and which plane a ray meets first.

A point of the plane has coordinates (s, t) along its two axes. With the pose M = [e1 e2 c], whose
columns are the axes and the origin in camera coordinates, it lies at X = M (s, t, 1) and is seen
at p ~ K X. So (s, t, 1) / z = M^-1 K^-1 (x, y, 1), linear in the pixel, and 1 / z is its last row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from promotion.scenes._outlines import Outline
from promotion.scenes._surfaces import Surface


@dataclass(frozen=True)
class Plane:
    """A piece of a textured plane, and the body that it moves with.

    Args:
        pose: Its axes and its origin in the first camera, as columns.
        outline: Which part of the plane is there; None is all of it.
        surface: What is painted on it.
        body: The number of the body it belongs to; 0 is the world, which never moves.
    """

    pose: Float[np.ndarray, "3 3"]
    outline: Outline | None
    surface: Surface
    body: int


@dataclass(frozen=True)
class View:
    """The planes as one camera sees them.

    Args:
        planes: All of them, in any order.
        projections: K M of each.
        inverses: M^-1 K^-1 of each.
        boxes: The rows and columns, in pixels, outside of which each is not seen.
        intrinsics: Of the camera.
    """

    planes: Sequence[Plane]
    projections: Float[np.ndarray, "k 3 3"]
    inverses: Float[np.ndarray, "k 3 3"]
    boxes: Float[np.ndarray, "k 4"]
    intrinsics: Float[np.ndarray, "3 3"]


def view(
    planes: Sequence[Plane],
    poses: Float[np.ndarray, "k 3 3"],
    intrinsics: Float[np.ndarray, "3 3"],
) -> View:
    """Look at planes in these poses through this camera."""
    projections = intrinsics @ poses
    boxes = [
        _box(plane.outline, projection)
        for plane, projection in zip(planes, projections, strict=True)
    ]
    return View(planes, projections, np.linalg.inv(projections), np.array(boxes), intrinsics)


def _box(outline: Outline | None, projection: Float[np.ndarray, "3 3"]) -> list[float]:
    """Top, bottom, left and right of the projected rectangle around a shape."""
    everywhere = [-np.inf, np.inf, -np.inf, np.inf]
    if outline is None:
        return everywhere
    corners = np.column_stack([outline.corners(), np.ones(4)]) @ projection.T
    if (corners[:, 2] < 1e-3).any():  # partly behind the camera: its picture has no corners
        return everywhere
    x, y = corners[:, 0] / corners[:, 2], corners[:, 1] / corners[:, 2]
    return [y.min(), y.max(), x.min(), x.max()]


def first_met(
    scene: View, x: Float[np.ndarray, "#h w"], y: Float[np.ndarray, "h #w"]
) -> tuple[Int[np.ndarray, "h w"], Float[np.ndarray, "h w"]]:
    """The plane that is nearest along each ray, and 1 / z there.

    Args:
        scene: The planes as the camera sees them.
        x: Columns in pixels, ascending: a row for a grid, or one for each point.
        y: Rows in pixels, ascending: a column for a grid, or one for each point.

    Returns:
        The number of the plane, -1 for none, and the inverse depth, 0 for none.
    """
    shape = np.broadcast_shapes(x.shape, y.shape)
    met = np.full(shape, -1, dtype=np.int16)
    inverse_depth = np.zeros(shape, dtype=x.dtype)
    grid = x.shape[0] == 1 and y.shape[1] == 1
    for number, plane in enumerate(scene.planes):
        q = scene.inverses[number].astype(x.dtype)
        rows, columns = _window(scene.boxes[number], x, y) if grid else (slice(None), slice(None))
        xs, ys = x[:, columns], y[rows]
        here = inverse_depth[rows, columns]
        candidate = q[2, 0] * xs + (q[2, 1] * ys + q[2, 2])
        nearer = candidate > here
        if plane.outline is not None:
            nearer = _cut(plane.outline, q, xs, ys, candidate, nearer)
        np.copyto(here, candidate, where=nearer)
        met[rows, columns][nearer] = number
    return met, inverse_depth


def _window(
    box: Float[np.ndarray, "4"], x: Float[np.ndarray, "1 w"], y: Float[np.ndarray, "h 1"]
) -> tuple[slice, slice]:
    top, bottom = np.searchsorted(y[:, 0], box[:2])
    left, right = np.searchsorted(x[0], box[2:])
    return slice(int(top), int(bottom)), slice(int(left), int(right))


def _cut(
    outline: Outline,
    q: Float[np.ndarray, "3 3"],
    x: Float[np.ndarray, "#h w"],
    y: Float[np.ndarray, "h #w"],
    inverse_depth: Float[np.ndarray, "h w"],
    nearer: Bool[np.ndarray, "h w"],
) -> Bool[np.ndarray, "h w"]:
    """Of these pixels, those that meet the plane inside the outline."""
    scale = 1 / inverse_depth[nearer]
    s = (q[0, 0] * x + (q[0, 1] * y + q[0, 2]))[nearer] * scale
    t = (q[1, 0] * x + (q[1, 1] * y + q[1, 2]))[nearer] * scale
    kept = np.zeros_like(nearer)
    kept[nearer] = outline.contains(s, t)
    return kept
