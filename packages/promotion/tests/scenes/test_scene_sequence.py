from __future__ import annotations

import pytest
import torch

from promotion.scenes import SceneConfig, render_scene, render_sequence
from tokenseek_common import InputError

CONFIG = SceneConfig(height=48, width=64, noise=0.0, gamma=0.0, blur=0.0)


def test_first_and_last_frame_are_those_of_the_scene() -> None:
    for seed in range(4):
        scene, sequence = render_scene(CONFIG, seed), render_sequence(CONFIG, seed, frames=5)
        torch.testing.assert_close(sequence.images[0], scene.image1)
        torch.testing.assert_close(sequence.images[-1], scene.image2)
        torch.testing.assert_close(sequence.flows[-1], scene.flow)
        assert sequence.occlusions[-1].equal(scene.occlusion)
        assert sequence.intrinsics.equal(scene.intrinsics)
        assert sequence.flows[0].abs().max() < 1e-12
        assert not sequence.occlusions[0].any()


def test_the_motion_is_even() -> None:
    for seed in range(4):
        flows = render_sequence(CONFIG, seed, frames=5).flows
        lengths = flows.norm(dim=1).mean((1, 2))
        shares = lengths / lengths[-1]
        torch.testing.assert_close(shares, torch.linspace(0, 1, 5), rtol=0, atol=0.05)


def test_fewer_than_two_frames_are_refused() -> None:
    with pytest.raises(InputError) as caught:
        render_sequence(CONFIG, 0, frames=1)
    assert str(caught.value) == "frames (1) must be at least 2; raise it"
