"""The turns and shifts of each body, scaled to a wanted length of the flow."""

from __future__ import annotations

import numpy as np

from promotion.scenes._config import SceneConfig
from promotion.scenes._layouts import Layout
from promotion.scenes._planes import View, first_met
from promotion.scenes._twists import Motion, Twists

LONGEST_OPEN = 0.5  # of a shutter, as a share of the time between the frames
_SPREAD = 0.6  # of the logarithm of a scene's mean flow
_SLOW = (0.05, 2.0)  # pixels
_FAST = (0.05, 0.25)  # of the width
_GRID = 24  # points a row on which the mean flow is measured
_NEAREST, _FARTHEST = 0.4, 2.5  # by how much a depth may change
_HORIZON = 1000.0  # metres: what the wall must not reach


def scaled_twists(
    config: SceneConfig, layout: Layout, twists: Twists, first: View, rng: np.random.Generator
) -> Twists:
    """Scale twists such that the mean length of the flow is what the scene draws.

    Scenes differ: the logarithm of the wanted length is normal. A motion that would bring
    something too near, or move the camera through the background, is made smaller instead.
    """
    wanted = _wanted(config, rng)
    if wanted == 0:
        return Twists(0 * twists.turns, 0 * twists.shifts, twists.centres)
    rows = max(2, _GRID * config.height // config.width)
    x = np.linspace(0, config.width - 1, _GRID)[None]
    y = np.linspace(0, config.height - 1, rows)[:, None]
    met, inverse_depth = first_met(first, x, y)
    bodies = np.array([plane.body for plane in layout.planes])[met]
    pixels = np.stack(np.broadcast_arrays(x, y, 1.0), axis=-1)
    points = pixels @ np.linalg.inv(layout.intrinsics).T / inverse_depth[..., None]
    limits = _Limits(config, layout, first)
    scale = 1.0
    for _ in range(4):  # the flow is almost linear in the scale
        scale, motion = _made_safe(limits, twists, scale)
        moved = np.einsum("hwij,hwj->hwi", motion.matrices[bodies], points)
        landed = (moved + motion.offsets[bodies]) @ layout.intrinsics.T
        flow = landed[..., :2] / landed[..., 2:] - pixels[..., :2]
        mean = np.hypot(flow[..., 0], flow[..., 1]).mean()
        scale *= float(np.clip(wanted / max(mean, 1e-6), 0.1, 10))
    scale, _ = _made_safe(limits, twists, scale)
    scaled = Twists(scale * twists.turns, scale * twists.shifts, twists.centres)
    return _with_fast(config, layout, scaled, limits, rng) if layout.fast else scaled


def _wanted(config: SceneConfig, rng: np.random.Generator) -> float:
    """Mean length of a scene's flow, in pixels."""
    usual = config.width * config.motion * np.exp(_SPREAD * rng.normal() - _SPREAD**2 / 2)
    if config.still or config.slow:
        kind = rng.random()
        if kind < config.still:
            return 0.0
        if kind < config.still + config.slow:
            return float(np.exp(rng.uniform(*np.log(_SLOW))))
    return float(usual)


def _with_fast(
    config: SceneConfig,
    layout: Layout,
    twists: Twists,
    limits: _Limits,
    rng: np.random.Generator,
) -> Twists:
    """Shift each fast body sideways, so that it is as far away as it was."""
    for body in layout.fast:
        length, angle = config.width * rng.uniform(*_FAST), rng.uniform(0, 2 * np.pi)
        metres = length * layout.centres[body, 2] / layout.intrinsics[0, 0]
        shifts = twists.shifts.copy()
        shifts[body, :2] += metres * np.cos(angle), metres * np.sin(angle)
        moved = Twists(twists.turns, shifts, twists.centres)
        if limits.allow(moved, 1.0):
            twists = moved
    return twists


def _made_safe(limits: _Limits, twists: Twists, scale: float) -> tuple[float, Motion]:
    """The largest of scale, 0.8 scale, 0.64 scale, ... that is safe, and its motion."""
    while not limits.allow(twists, scale):
        scale *= 0.8
    return scale, twists.scaled(scale)


class _Limits:
    """How far the planes of a scene may move."""

    def __init__(self, config: SceneConfig, layout: Layout, first: View) -> None:
        end = np.array([config.height, config.height, config.width, config.width]) - 0.5
        top, bottom, left, right = np.clip(first.boxes, -0.5, end).T
        corners = [[x, y, np.ones_like(x)] for x in (left, right) for y in (top, bottom)]
        pixels = np.moveaxis(np.array(corners), -1, 0)
        # 1 / z = (n / d).K^-1 p
        self._moments = (1.0, 1 + LONGEST_OPEN / 2, -LONGEST_OPEN / 2) if config.shutter else (1.0,)
        self._slants = first.inverses[:, 2] @ layout.intrinsics
        self._rays = pixels @ np.linalg.inv(layout.intrinsics).T
        self._zoomed = pixels[0] @ np.linalg.inv(layout.zoomed(1.0)).T
        self._bodies = np.array([plane.body for plane in layout.planes])
        self._endless = np.array([plane.outline is None for plane in layout.planes])

    def allow(self, twists: Twists, scale: float) -> bool:
        """Whether this much of the motion is safe, as long as a shutter is open."""
        return all(self._allow(twists.scaled(moment * scale)) for moment in self._moments)

    def _allow(self, motion: Motion) -> bool:
        """Whether each visible depth changes by a bounded factor, and the camera stays inside.

        The factor (A X + b)_z / z is linear in the pixel, so its extremes lie at the corners of
        the box in which a plane can be seen. Of n.X = d the motion makes A n.X = d + A n.b.
        """
        matrices, offsets = motion.matrices[self._bodies], motion.offsets[self._bodies]
        inverse_depths = np.einsum("kcj,kj->kc", self._rays, self._slants)
        factors = np.einsum("kcj,kj->kc", self._rays, matrices[:, 2])
        factors += offsets[:, 2, None] * inverse_depths
        slants = np.einsum("kij,kj->ki", matrices, self._slants)
        distances = 1 + np.einsum("ki,ki->k", slants, offsets)
        wall = self._zoomed @ slants[0]  # must lie ahead in all of the second frame
        return bool(
            factors.min() >= _NEAREST
            and factors.max() <= _FARTHEST
            and distances[self._endless].min() >= _NEAREST
            and wall.min() >= 1 / _HORIZON
        )
