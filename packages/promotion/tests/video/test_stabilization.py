from __future__ import annotations

import itertools
import math

import pytest
import torch
from jaxtyping import Float
from kornia.geometry.linalg import transform_points
from kornia.geometry.transform import warp_perspective
from torch import Tensor

from promotion import Motion, ProMotion
from promotion.scenes import SceneConfig, render_scene
from promotion.video import camera_path, stabilize, steadying
from promotion.video._stabilization import homography_of
from tokenseek_common import InputError

SIZE = (96, 128)
CORNERS = torch.tensor([[0.0, 0], [127, 0], [127, 95], [0, 95]], dtype=torch.float64)


def shaken(count: int, pixels: float) -> Float[Tensor, "t 3 3"]:
    """Cameras that move evenly to the right and shake: to the pixels of the first."""
    generator = torch.Generator().manual_seed(1)
    cameras = []
    for number in range(count):
        x, y, turn = torch.randn(3, generator=generator, dtype=torch.float64).tolist()
        turn *= pixels / 150
        camera = torch.tensor(
            [
                [math.cos(turn), -math.sin(turn), 1.5 * number + pixels * x],
                [math.sin(turn), math.cos(turn), pixels * y],
                [0, 0, 1],
            ],
            dtype=torch.float64,
        )
        cameras.append(camera)
    return cameras[0].inverse() @ torch.stack(cameras)


def shake_of(path: Float[Tensor, "t 3 3"]) -> float:
    """Pixels by which corners leave the middle of the places before and after, from 5 on."""
    corners = transform_points(path, CORNERS.expand(len(path), -1, -1))
    return float((corners[1:-1] - (corners[:-2] + corners[2:]) / 2).norm(dim=2).mean())


def test_the_path_goes_through_all_steps() -> None:
    path = shaken(5, 2.0)
    steps = [before.inverse() @ after for before, after in itertools.pairwise(path)]
    torch.testing.assert_close(camera_path(steps), path, rtol=1e-10, atol=1e-10)


def test_a_camera_that_moves_evenly_is_left_alone() -> None:
    path = shaken(30, 0.0)
    unchanged = torch.eye(3, dtype=torch.float64).expand(30, -1, -1)
    torch.testing.assert_close(steadying(path, SIZE, 5), unchanged, rtol=0, atol=1e-8)


def test_shake_is_smoothed_away() -> None:
    path = shaken(60, 3.0)
    steady = path @ steadying(path, SIZE, 15).inverse()
    assert shake_of(steady) < 0.1 * shake_of(path)


def test_a_homography_is_found_beside_what_moves_on_its_own() -> None:
    camera = shaken(2, 4.0)[1]
    y, x = torch.meshgrid(torch.arange(96.0), torch.arange(128.0), indexing="ij")
    pixels = torch.stack([x.flatten(), y.flatten()], 1).double()
    flow = (transform_points(camera.inverse()[None], pixels[None])[0] - pixels).T
    flow = flow.unflatten(1, SIZE).float()
    flow[:, 20:60, 30:80] += 9.0
    confidence = torch.ones(SIZE)
    found = homography_of(Motion(flow, torch.ones(SIZE), confidence, confidence < 0, None))
    apart = transform_points(found[None], CORNERS[None]) - transform_points(
        camera[None], CORNERS[None]
    )
    assert float(apart.abs().max()) < 0.05


def test_a_known_shake_is_removed() -> None:
    """At least 80 % of it, of a picture that the shipped weights see shaken."""
    picture = render_scene(SceneConfig(height=160, width=240, noise=0.0), 2).image1[None].double()
    to_middle = torch.tensor([[1.0, 0, 40], [0, 1, 32], [0, 0, 1]], dtype=torch.float64)
    path = shaken(10, 1.5)
    frames = [
        warp_perspective(picture, (to_middle @ camera).inverse()[None], SIZE)[0].float()
        for camera in path
    ]
    model = ProMotion.from_pretrained()
    steady = list(stabilize(model, frames, radius=5))
    assert steady[0].shape == (3, *SIZE)
    found = camera_path(
        [
            homography_of(model.predict(first, second, confidence=True))
            for first, second in itertools.pairwise(frames)
        ]
    )
    left = path @ steadying(found, SIZE, 5).inverse()
    assert shake_of(left) < 0.2 * shake_of(path)
    still = torch.stack(steady)[:, :, 24:72, 32:96]
    assert (still[1:] - still[:-1]).abs().mean() < 0.7 * _change(frames)


def _change(frames: list[Tensor]) -> float:
    seen = torch.stack(frames)[:, :, 24:72, 32:96]
    return float((seen[1:] - seen[:-1]).abs().mean())


@pytest.mark.parametrize(
    ("count", "radius", "said"),
    [
        (1, 5, "frames (fewer than 2) must be at least 2; give more"),
        (2, 0, "radius (0) must be at least 1; raise it"),
    ],
)
def test_what_cannot_be_steadied_is_refused(count: int, radius: int, said: str) -> None:
    frames = [torch.rand(3, 32, 40) for _ in range(count)]
    with pytest.raises(InputError) as caught:
        next(stabilize(ProMotion(), frames, radius=radius))
    assert str(caught.value) == said


def test_frames_that_can_be_seen_once_only_are_refused() -> None:
    with pytest.raises(InputError) as caught:
        next(stabilize(ProMotion(), iter([torch.rand(3, 32, 40)])))
    assert str(caught.value) == ("frames (an iterator) must be gone through twice; give a sequence")
