"""What a camera makes of the planes: colours, haze, focus, exposure and noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from promotion.scenes._config import SceneConfig
from promotion.scenes._layouts import Layout
from promotion.scenes._planes import View, first_met

_FINER = 2  # samples of a pixel along each axis


@dataclass(frozen=True)
class Air:
    """Haze: a share exp(-z / reach) of the light arrives, the rest has the air's colour."""

    reach: float
    colour: Float[np.ndarray, "3"]


@dataclass(frozen=True)
class Exposure:
    """How one frame is taken: gain * colour^gamma, then blur, then noise."""

    gain: Float[np.ndarray, "3"]
    gamma: float
    blur: float
    noise: float


def draw_air(config: SceneConfig, rng: np.random.Generator, distance: float) -> Air:
    """Draw clear air or haze, grey to bluish, in which something far is still seen; or fog."""
    reach = distance * np.exp(rng.uniform(np.log(0.8), np.log(6)))
    if config.fog and rng.random() < config.fog:
        reach = distance * np.exp(rng.uniform(np.log(0.15), np.log(0.5)))
    colour = rng.uniform(0.5, 0.95) + rng.uniform(0, 0.12) * np.array([-1, 0, 1])
    return Air(float(reach), np.clip(colour, 0, 1))


def draw_exposures(config: SceneConfig, rng: np.random.Generator) -> tuple[Exposure, Exposure]:
    """Draw two exposures that are alike, up to what the config allows."""
    gamma, gain = np.exp(rng.normal(0, 0.15)), np.exp(rng.normal(0, 0.1))
    focus, noise = rng.random(2) < config.blur, rng.uniform(0, config.noise)
    frames = []
    for frame in range(2):
        spread = config.gamma * rng.normal(size=5) / np.sqrt(2)
        frames.append(
            Exposure(
                gain=gain * np.exp(spread[0] + 0.4 * spread[1:4]),
                gamma=float(gamma * np.exp(spread[4])),
                blur=float(focus[frame] * rng.uniform(0.03, 0.25)),
                noise=float(noise),
            )
        )
    return frames[0], frames[1]


def picture(
    config: SceneConfig,
    layout: Layout,
    seen: Sequence[View],
    air: Air,
    exposure: Exposure,
    rng: np.random.Generator,
) -> Float[np.ndarray, "3 h w"]:
    """One frame: the mean of what is seen while the shutter is open."""
    moments = np.stack([_light(config, layout, each, air) for each in seen])
    return _exposed(moments.mean(0), exposure, rng)


def _light(config: SceneConfig, layout: Layout, seen: View, air: Air) -> Float[np.ndarray, "h w 3"]:
    """What arrives at each pixel: the mean of four samples."""
    offset = (1 - 1 / _FINER) / 2
    x = np.arange(config.width * _FINER, dtype=np.float32)[None] / _FINER - np.float32(offset)
    y = np.arange(config.height * _FINER, dtype=np.float32)[:, None] / _FINER - np.float32(offset)
    met, inverse_depth = first_met(seen, x, y)
    colours = _colours(layout, seen, met, inverse_depth, x, y)
    haze = air.colour.astype(np.float32)
    clear = np.exp(-1 / (inverse_depth * np.float32(air.reach)))[..., None]
    colours = haze + clear * (colours - haze)
    rows = colours[0::2] + colours[1::2]
    light: Float[np.ndarray, "h w 3"] = (rows[:, 0::2] + rows[:, 1::2]) / 4
    return light


def _colours(
    layout: Layout,
    seen: View,
    met: Int[np.ndarray, "h w"],
    inverse_depth: Float[np.ndarray, "h w"],
    x: Float[np.ndarray, "1 w"],
    y: Float[np.ndarray, "h 1"],
) -> Float[np.ndarray, "h w 3"]:
    """What is painted where each ray meets its plane."""
    order = np.argsort(met, axis=None, kind="stable")  # each plane's samples in one piece
    ends = np.cumsum(np.bincount(met.ravel(), minlength=len(layout.planes)))
    xs, ys = x[0][order % met.shape[1]], y[:, 0][order // met.shape[1]]
    depth = 1 / inverse_depth.ravel()[order]
    lens = np.linalg.inv(seen.intrinsics)
    ray = np.sqrt(1 + (lens[0, 0] * xs + lens[0, 2]) ** 2 + (lens[1, 1] * ys + lens[1, 2]) ** 2)
    ray = ray.astype(np.float32)
    sorted_colours = np.empty((len(order), 3), dtype=np.float32)
    for number, plane in enumerate(layout.planes):
        here = slice(ends[number - 1] if number else 0, ends[number])
        if here.start == here.stop:
            continue
        # a pixel covers z / f by z / f / cos(tilt) of the plane; cos(tilt) = distance / (z |ray|)
        distance = 1 / np.linalg.norm((seen.inverses[number] @ seen.intrinsics)[2])
        footprint = depth[here] * np.sqrt(depth[here] * ray[here] / np.float32(distance))
        footprint *= np.float32(1 / (_FINER * seen.intrinsics[0, 0]))
        q = seen.inverses[number].astype(np.float32)
        s = (q[0, 0] * xs[here] + q[0, 1] * ys[here] + q[0, 2]) * depth[here]
        t = (q[1, 0] * xs[here] + q[1, 1] * ys[here] + q[1, 2]) * depth[here]
        sorted_colours[here] = plane.surface.colours(s, t, footprint)
    colours = np.empty_like(sorted_colours)
    colours[order] = sorted_colours
    return colours.reshape(*met.shape, 3)


def _exposed(
    colours: Float[np.ndarray, "h w 3"], exposure: Exposure, rng: np.random.Generator
) -> Float[np.ndarray, "3 h w"]:
    frame = exposure.gain.astype(np.float32) * colours ** np.float32(exposure.gamma)
    for axis in (0, 1):
        if exposure.blur > 0:
            padded = np.pad(frame, [(int(i == axis),) * 2 for i in range(3)], mode="edge")
            sides = np.delete(padded, [-1, -2], axis) + np.delete(padded, [0, 1], axis)
            frame = (1 - 2 * np.float32(exposure.blur)) * frame + np.float32(exposure.blur) * sides
    frame = frame + np.float32(exposure.noise) * rng.standard_normal(frame.shape, dtype=np.float32)
    return np.ascontiguousarray(np.clip(frame, 0, 1).transpose(2, 0, 1))
