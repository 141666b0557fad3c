from __future__ import annotations

from unittest.mock import Mock

import pytest
import torch
from torch import Tensor

from promotion import Motion, ProMotion, ProMotionConfig
from promotion._views import views
from promotion.scenes import SceneConfig, render_sequence
from promotion.video import interpolate, interpolate_frames
from promotion.video._interpolation import between, origins
from tokenseek_common import InputError


def test_origins_are_what_the_flow_brings_to_each_pixel() -> None:
    y, x = torch.meshgrid(torch.arange(40.0), torch.arange(60.0), indexing="ij")
    flow = torch.stack([2 + 0.05 * x + 0.02 * y, -1 + 0.03 * y]).double()
    place = origins(flow, 0.5)
    landed = place + 0.5 * torch.stack(
        [2 + 0.05 * place[0] + 0.02 * place[1], -1 + 0.03 * place[1]]
    )
    inside = (..., slice(4, -4), slice(4, -4))
    pixels = torch.stack([x, y]).double()
    torch.testing.assert_close(landed[inside], pixels[inside], rtol=0, atol=1e-6)


def nano() -> ProMotion:
    torch.manual_seed(0)
    return ProMotion(ProMotionConfig.size("nano")).eval()


def motion(flow: Tensor, confidence: Tensor) -> Motion:
    return Motion(flow, torch.ones_like(confidence), confidence, confidence < 0.3, None)


@pytest.mark.parametrize("time", [0.0, 0.25, 0.5, 1.0])
def test_a_picture_that_slides_is_in_between(time: float) -> None:
    wide = torch.rand(3, 20, 40)
    first, second = wide[..., 4:36], wide[..., :32]  # all moves 4 pixels to the right
    flow = torch.zeros(2, 20, 32)
    flow[0] = 4
    sure = torch.ones(20, 32)
    found = between((first, second), (motion(flow, sure), motion(-flow, sure)), time)
    moved = round(4 * time)
    expected = wide[..., 4 - moved : 36 - moved]
    torch.testing.assert_close(found[..., 4:-4], expected[..., 4:-4], rtol=0, atol=1e-5)


def test_what_one_frame_alone_shows_is_taken_from_it() -> None:
    first, second = torch.zeros(3, 16, 16), torch.ones(3, 16, 16)
    still, sure, unsure = torch.zeros(2, 16, 16), torch.ones(16, 16), torch.zeros(16, 16)
    found = between((first, second), (motion(still, unsure), motion(still, sure)), 0.5)
    assert (found > 0.99).all()
    both = between((first, second), (motion(still, unsure), motion(still, unsure)), 0.25)
    torch.testing.assert_close(both, torch.full((3, 16, 16), 0.25))


def test_the_middle_of_a_scene_is_nearer_than_the_mean_of_both_frames() -> None:
    """By 3 dB."""
    gains = []
    for seed in (0, 1):
        scene = render_sequence(SceneConfig(height=96, width=128), seed, frames=3)
        first, truth, second = scene.images
        (found,) = interpolate(ProMotion.from_pretrained(), first, second)
        errors = [(each - truth).square().mean() for each in (found, (first + second) / 2)]
        gains.append(float(10 * (errors[1] / errors[0]).log10()))
    assert min(gains) > 3


def test_times_beyond_the_frames_are_refused() -> None:
    frame = torch.rand(3, 16, 16)
    model = nano()
    with pytest.raises(InputError) as caught:
        next(interpolate(model, frame, frame, [0.5, 1.5]))
    assert str(caught.value) == "times (1.5) must be from 0 to 1; leave it out"


def test_frames_of_a_sequence_are_encoded_once_and_each_way_is_found_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = nano()
    frames = list(torch.rand(3, 3, 40, 48, generator=torch.Generator().manual_seed(2)))
    times = [0.25, 0.5]
    there, back = (
        model.predict(*frames[:2], confidence=True),
        model.predict(*frames[1::-1], confidence=True),
    )
    expected = [between((frames[0], frames[1]), (there, back), time) for time in times]
    first, second, third = frames
    apart = [*interpolate(model, first, second, times), *interpolate(model, second, third, times)]
    extract, flow = Mock(side_effect=model.extract), Mock(side_effect=model.flow.forward)
    monkeypatch.setattr(model, "extract", extract)
    monkeypatch.setattr(model.flow, "forward", flow)
    found = list(interpolate_frames(model, iter(frames), times))
    assert extract.call_count == 3 * len(views(40, 48))
    assert flow.call_count == 4 * len(views(40, 48))
    together = [frames[0], *apart[:2], frames[1], *apart[2:], frames[2]]
    for each, alone in zip(found, together, strict=True):
        assert each.equal(alone)
    for each, by_predict in zip(apart, expected, strict=False):
        assert each.equal(by_predict)


def test_one_frame_has_nothing_beside_it() -> None:
    with pytest.raises(InputError) as caught:
        list(interpolate_frames(nano(), [torch.rand(3, 16, 16)]))
    assert str(caught.value) == "frames (fewer than 2) must be at least 2; give more"
