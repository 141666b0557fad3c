from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from promotion import Motion, ProMotion, ProMotionConfig
from promotion.scenes import SceneConfig, render_sequence
from promotion.video import track
from tokenseek_common import InputError


class Told(ProMotion):
    """A model that sees what it is told, one motion after the other."""

    def __init__(self, motions: Iterator[Motion]) -> None:
        super().__init__(ProMotionConfig.size("nano"))
        self.motions = motions

    def predict_frames(self, *_: Any, **__: Any) -> Iterator[Motion]:
        """The motions, then what is found of the last frame."""
        yield from self.motions
        yield Motion(None, torch.ones(40, 60), None, None, None)


def motion(flow: Tensor, confidence: Tensor) -> Motion:
    return Motion(flow, torch.ones_like(confidence), confidence, confidence < 0.3, None)


def linear_flow(matrix: Tensor, offset: Tensor) -> Tensor:
    """Motion x -> A x + b of each pixel."""
    y, x = torch.meshgrid(torch.arange(40.0), torch.arange(60.0), indexing="ij")
    pixels = torch.stack([x, y])
    return torch.einsum("ij,jhw->ihw", matrix, pixels) + offset[:, None, None] - pixels


FRAMES = [torch.rand(3, 40, 60)] * 4


def test_points_follow_the_flow_between_pixels() -> None:
    matrix, offset = torch.tensor([[1.02, 0.03], [-0.01, 0.99]]), torch.tensor([0.6, -0.4])
    flow = linear_flow(matrix, offset)
    model = Told(motion(flow, torch.ones(40, 60)) for _ in range(3))
    points = torch.tensor([[10.0, 20.0], [33.3, 12.7]])
    tracks = track(model, FRAMES, points)
    expected = [points]
    for _ in range(3):
        expected.append(expected[-1] @ matrix.T + offset)
    torch.testing.assert_close(tracks.positions, torch.stack(expected), rtol=1e-5, atol=1e-4)
    assert tracks.visible.all()


def test_points_that_leave_or_are_not_confirmed_are_lost_for_good() -> None:
    flow = torch.zeros(2, 40, 60)
    flow[0] = 3.0
    unsure = torch.ones(40, 60)
    unsure[:20] = 0.2
    confidences = [torch.ones(40, 60), unsure, torch.ones(40, 60)]
    model = Told(motion(flow, confidence) for confidence in confidences)
    points = torch.tensor([[10.0, 30.0], [54.0, 30.0], [10.0, 5.0]])
    visible = track(model, FRAMES, points).visible
    assert visible.T.tolist() == [
        [True, True, True, True],
        [True, True, False, False],
        [True, True, False, False],
    ]


def test_points_outside_and_single_frames_are_refused() -> None:
    flow = motion(torch.zeros(2, 40, 60), torch.ones(40, 60))
    with pytest.raises(InputError) as caught:
        track(Told(iter([flow])), FRAMES[:2], torch.tensor([[5.0, 5.0], [60.0, 3.5]]))
    assert str(caught.value) == (
        "points (60, 3.5) must lie in the first frame, from 0 to 59 and from 0 to 39; leave those "
        "outside out"
    )
    with pytest.raises(InputError) as caught:
        track(Told(iter([])), FRAMES[:1], torch.tensor([[5.0, 5.0]]))
    assert str(caught.value) == "frames (fewer than 2) must be at least 2; give more"


def test_points_of_a_scene_are_where_its_truth_says() -> None:
    """Within a pixel after eight frames, for most points that stay in sight."""
    scene = render_sequence(SceneConfig(height=96, width=128), 4, frames=8)
    y, x = torch.meshgrid(torch.arange(6, 96, 12), torch.arange(6, 128, 12), indexing="ij")
    rows, columns = y.flatten(), x.flatten()
    tracks = track(
        ProMotion.from_pretrained(),
        list(scene.images),
        torch.stack([columns, rows], 1).float(),
    )
    moved = scene.flows[-1][:, rows, columns].T
    error = (tracks.positions[-1] - tracks.positions[0] - moved).norm(dim=1)
    seen = tracks.visible[-1] & ~scene.occlusions[-1][rows, columns]
    assert seen.float().mean() > 0.7
    assert error[seen].median() < 1
    assert error[seen].median() < 0.25 * moved[seen].norm(dim=1).median()
