"""What tracks, frames in between and a steady camera are worth, where the truth is exact.

Generated scenes that nothing was trained or chosen on, with the shipped weights; the record is
benchmarks/results/promotion-flow/downstream.json.
"""

from __future__ import annotations

import math
import statistics
import sys
from typing import Any

import torch
from kornia.geometry.linalg import transform_points
from kornia.geometry.transform import warp_perspective
from records import RESULTS, weights_hash, write
from torch import Tensor

from promotion import ProMotion
from promotion._pretrained import SHIPPED
from promotion.scenes import SceneConfig, render_scene, render_sequence
from promotion.training._evaluate import HELD_OUT
from promotion.video import camera_path, interpolate, steadying, track
from promotion.video._stabilization import homography_of

RECORD = RESULTS / "downstream.json"
FIRST = HELD_OUT + 7000
"""Seed of the first scene, beyond those of the other records."""

SCENES = 12
SIZE = (96, 128)
FRAMES = 8
"""Of the sequences that points are followed through."""

SPACING = 8
"""Pixels between those points."""

SHAKES = (1.5, 3.0)
"""Standard deviations of a camera's places, in pixels."""

RADIUS = 5


def tracks(model: ProMotion) -> dict[str, float]:
    """Pixels that points are off in the last frame, of those that all frames show."""
    errors, lengths, kept, right = [], [], [], []
    for number in range(SCENES):
        scene = render_sequence(SceneConfig(height=96, width=128), FIRST + number, frames=FRAMES)
        y, x = (torch.arange(SPACING // 2, side, SPACING) for side in SIZE)
        points = torch.cartesian_prod(y, x).flip(1)
        rows, columns = points[:, 1], points[:, 0]
        found = track(model, scene.images, points.float())
        seen = ~scene.occlusions[:, rows, columns].any(0)
        moved = scene.flows[-1][:, rows, columns].T
        error = (found.positions[-1] - points - moved).norm(dim=1)
        followed = found.visible[-1]
        errors.append(error[seen & followed])
        lengths.append(moved[seen & followed].norm(dim=1))
        kept.append(float(followed[seen].float().mean()))
        right.append(float(seen[followed].float().mean()))
    error = torch.cat(errors)
    return {
        "scenes": SCENES,
        "frames": FRAMES,
        "median_error_px": float(error.median()),
        "mean_error_px": float(error.mean()),
        "below_1_px": float((error < 1).float().mean()),
        "mean_motion_px": float(torch.cat(lengths).mean()),
        "visible_points_kept": statistics.fmean(kept),
        "kept_points_visible": statistics.fmean(right),
    }


def frames_between(model: ProMotion) -> dict[str, float]:
    """PSNR of the middle frame, and of the mean of both frames."""
    ours, mean = [], []
    for number in range(SCENES):
        scene = render_sequence(SceneConfig(height=96, width=128), FIRST + number, frames=3)
        first, truth, second = scene.images
        (found,) = interpolate(model, first, second)
        ours.append(psnr(found, truth))
        mean.append(psnr((first + second) / 2, truth))
    gains = [own - blend for own, blend in zip(ours, mean, strict=True)]
    return {
        "scenes": SCENES,
        "psnr_db": statistics.fmean(ours),
        "psnr_of_the_mean_db": statistics.fmean(mean),
        "gain_db": statistics.fmean(gains),
        "least_gain_db": min(gains),
    }


def psnr(found: Tensor, truth: Tensor) -> float:
    """Of pictures in [0, 1]."""
    return float(-10 * (found - truth).square().mean().log10())


def steady_camera(model: ProMotion) -> dict[str, float]:
    """Share of a known shake that is removed, by its size in pixels."""
    removed = {}
    for pixels in SHAKES:
        shares = []
        for number in range(SCENES // 3):
            config = SceneConfig(height=160, width=240, noise=0.0)
            picture = render_scene(config, FIRST + number).image1[None].double()
            path = shaken(12, pixels, number)
            middle = torch.tensor([[1.0, 0, 56], [0, 1, 32], [0, 0, 1]], dtype=torch.float64)
            frames = [
                warp_perspective(picture, (middle @ camera).inverse()[None], SIZE)[0].float()
                for camera in path
            ]
            steps = [
                homography_of(motion)
                for motion in model.predict_frames(frames, confidence=True)
                if motion.flow is not None
            ]
            steady = path @ steadying(camera_path(steps), SIZE, RADIUS).inverse()
            shares.append(1 - shake_of(steady) / shake_of(path))
        removed[f"removed_of_{pixels:g}_px"] = statistics.fmean(shares)
        removed[f"least_removed_of_{pixels:g}_px"] = min(shares)
    return {"pictures": SCENES // 3, "frames": 12} | removed


def shaken(count: int, pixels: float, seed: int) -> Tensor:
    """Cameras that move evenly to the right and shake: to the pixels of the first."""
    draws = torch.randn(count, 3, generator=torch.Generator().manual_seed(seed)).double()
    cameras = []
    for number, (x, y, turn) in enumerate((pixels * draws).tolist()):
        c, s = math.cos(turn / 150), math.sin(turn / 150)
        rows = [[c, -s, 1.5 * number + x], [s, c, y], [0, 0, 1]]
        cameras.append(torch.tensor(rows, dtype=torch.float64))
    return cameras[0].inverse() @ torch.stack(cameras)


def shake_of(path: Tensor) -> float:
    """Pixels by which the frame's corners leave the middle of the places before and after."""
    height, width = SIZE
    corners = [[0.0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]]
    places = torch.tensor(corners, dtype=torch.float64).expand(len(path), -1, -1)
    moved = transform_points(path, places)
    return float((moved[1:-1] - (moved[:-2] + moved[2:]) / 2).norm(dim=2).mean())


def main() -> None:
    """Measure all."""
    torch.set_num_threads(1)
    model = ProMotion.from_pretrained()
    record: dict[str, Any] = {"weights": weights_hash(SHIPPED), "torch": torch.__version__}
    for name, measure in (
        ("tracks", tracks),
        ("interpolation", frames_between),
        ("stabilization", steady_camera),
    ):
        record[name] = measure(model)
        sys.stdout.write(f"{name}: {record[name]}\n")
        sys.stdout.flush()
    write(RECORD, record)


if __name__ == "__main__":
    main()
