from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from promotion.viz import flow_legend, flow_picture, flow_to_image
from promotion.viz._flow import colour_wheel
from tokenseek_common import InputError

GREY, WHITE = [128, 128, 128], [255, 255, 255]
# The first colour of each arc, and where the arcs begin by their lengths 15, 6, 4, 11, 13, 6.
ARCS = {
    0: [255, 0, 0],
    15: [255, 255, 0],
    21: [0, 255, 0],
    25: [0, 255, 255],
    36: [0, 0, 255],
    49: [255, 0, 255],
}


def one(u: float, v: float) -> Tensor:
    """A flow map of one vector."""
    return torch.tensor([[[u]], [[v]]])


def slow_colour(u: float, v: float) -> list[float]:
    """The colour of one vector no longer than 1, by the description of the wheel."""
    wheel = colour_wheel().T.tolist()
    around = (math.atan2(-v, -u) / math.pi + 1) / 2 * 54
    before = int(around)
    share = around - before
    pure = [
        (1 - share) * a + share * b
        for a, b in zip(wheel[before], wheel[(before + 1) % 55], strict=True)
    ]
    return [255 - math.hypot(u, v) * (255 - channel) for channel in pure]


def test_wheel_has_55_colours_in_six_arcs() -> None:
    wheel = colour_wheel()
    assert wheel.shape == (3, 55)
    assert {start: wheel[:, start].int().tolist() for start in ARCS} == ARCS
    assert wheel[:, 14].int().tolist() == [255, 238, 0]  # 14 / 15 of the way to yellow
    assert wheel[:, 54].int().tolist() == [255, 0, 43]  # 5 / 6 of the way from magenta to red


@pytest.mark.parametrize(
    ("vector", "colour"),
    [
        ((5.0, 0.0), [255, 0, 0]),  # right: red
        ((0.0, 5.0), [255, 229, 0]),  # down: yellow
        ((-5.0, 0.0), [0, 209, 255]),  # left: light blue
        ((0.0, -5.0), [88, 0, 255]),  # up: violet
        ((2.5, 0.0), [255, 127, 127]),  # right, half as fast: pink
        ((0.0, 0.0), WHITE),
    ],
)
def test_known_directions_have_known_colours(
    vector: tuple[float, float], colour: list[int]
) -> None:
    image = flow_to_image(one(*vector), max_norm=5.0)
    assert image.dtype is torch.uint8
    difference = image.flatten().int() - torch.tensor(colour)
    assert difference.abs().max() <= 1  # the angle is rounded to float32


@settings(max_examples=50, deadline=None)
@given(length=st.floats(0, 1), angle=st.floats(-math.pi, math.pi))
def test_colours_are_those_of_the_description(length: float, angle: float) -> None:
    flow = one(length * math.cos(angle), length * math.sin(angle))
    u, v = flow.flatten().tolist()
    colour = flow_to_image(flow, max_norm=1.0).flatten().tolist()
    # The end of the circle, at motion to the right, is where its beginning is.
    expected = [slow_colour(u, v), slow_colour(u, abs(v)), slow_colour(u, -abs(v))]
    assert any(
        all(abs(a - b) <= 1.01 for a, b in zip(colour, wanted, strict=True)) for wanted in expected
    )


def test_without_a_scale_the_longest_vector_has_full_colour() -> None:
    flow = torch.tensor([[[3.0, 0.5], [0.0, 7.0]], [[0.0, 0.0], [0.0, 0.0]]])
    assert torch.equal(flow_to_image(flow), flow_to_image(flow, max_norm=7.0))
    assert flow_to_image(flow)[:, 1, 1].tolist() == [255, 0, 0]


def test_rounding_does_not_spoil_the_colour_of_the_longest_vector() -> None:
    generator = torch.Generator().manual_seed(0)
    vectors = torch.empty(2000, 2).uniform_(-9, 9, generator=generator)
    relative = vectors / vectors.square().sum(1, keepdim=True).sqrt()
    # Which of them are beyond the scale is the processor's affair; on every one some are.
    beyond = vectors[relative.square().sum(1).sqrt() > 1]
    assert len(beyond) > 5
    for u, v in beyond.tolist():
        channels = flow_to_image(one(u, v)).flatten().tolist()
        assert (min(channels), max(channels)) == (0, 255)  # a pure colour has one at each end


def test_vectors_beyond_the_scale_are_darker() -> None:
    assert flow_to_image(one(9.0, 0.0), max_norm=3.0).flatten().tolist() == [191, 0, 0]


def test_no_motion_is_white_without_a_scale_too() -> None:
    assert (flow_to_image(torch.zeros(2, 3, 4)) == 255).all()


def test_unknown_flow_is_grey_and_has_no_part_in_the_scale() -> None:
    flow = torch.tensor([[[2.0, 100.0, torch.nan]], [[0.0, 0.0, 0.0]]])
    image = flow_to_image(flow, torch.tensor([[True, False, False]]))
    assert image[:, 0].T.tolist() == [[255, 0, 0], GREY, GREY]


def test_picture_is_the_image_with_a_legend_to_its_right() -> None:
    flow = torch.randn(2, 300, 200)
    picture = flow_picture(flow)
    assert torch.equal(picture[:, :, :200], flow_to_image(flow))
    longest = flow.square().sum(0).sqrt().max().item()
    assert torch.equal(picture[:, :, 200:], flow_legend(longest, height=300))


def test_picture_explains_grey_only_where_there_is_some() -> None:
    flow, valid = torch.ones(2, 200, 50), torch.ones(200, 50, dtype=torch.bool)
    assert torch.equal(flow_picture(flow, valid), flow_picture(flow))
    valid[0, 0] = False
    legend = flow_picture(flow, valid)[:, :, 50:]
    left = legend[:, :, 12].T  # a square as high as the letters stands there
    assert (left == torch.tensor(GREY)).all(1).sum() == 12
    assert torch.equal(legend, flow_legend(math.sqrt(2), height=200, unknown=True))


def test_a_small_map_is_framed_in_white_below_its_legend_height() -> None:
    picture = flow_picture(torch.ones(2, 8, 8))
    assert picture.shape[1] == flow_legend(1.0).shape[1]
    assert (picture[:, 8:, :8] == 255).all()


def test_legend_shows_each_direction_in_its_place() -> None:
    legend = flow_legend(12.0)
    radius, margin = 48, 12
    middle = margin + radius
    right = legend[:, middle, middle + radius].tolist()
    down = legend[:, middle + radius, middle].tolist()
    assert (right, down) == ([255, 0, 0], [255, 229, 0])
    assert legend[:, middle, middle].tolist() == WHITE
    assert legend[:, margin, margin].tolist() == WHITE  # a corner outside the disc


@pytest.mark.parametrize("max_norm", [0.00012, 0.5, 12.0, 123.4, 123456.0])
@pytest.mark.parametrize("height", [0, 436, 1200])
def test_legend_is_never_cut_off(max_norm: float, height: int) -> None:
    legend = flow_legend(max_norm, height=height, unknown=True)
    for edge in (legend[:, 0], legend[:, -1], legend[:, :, 0], legend[:, :, -1]):
        assert (edge == 255).all()


def test_legend_says_its_radius() -> None:
    assert not torch.equal(flow_legend(12.0), flow_legend(13.0))


@pytest.mark.parametrize("draw", [flow_to_image, flow_picture])
def test_a_scale_that_is_not_positive_is_refused(draw: object) -> None:
    assert callable(draw)
    with pytest.raises(InputError) as refused:
        draw(torch.ones(2, 1, 1), max_norm=0.0)
    assert str(refused.value) == (
        "max_norm (0) must be above 0; leave it out to take the longest vector"
    )


def test_known_flow_that_is_not_finite_is_refused() -> None:
    with pytest.raises(InputError) as refused:
        flow_to_image(torch.tensor([[[torch.nan, 1.0]], [[torch.inf, 1.0]]]))
    assert str(refused.value) == (
        "flow (2 values are NaN or infinite) must be finite wherever it is known; "
        "mark the other pixels as not valid"
    )


def test_flow_that_is_nowhere_known_has_no_scale_of_its_own() -> None:
    flow, valid = torch.zeros(2, 1, 2), torch.zeros(1, 2, dtype=torch.bool)
    assert flow_to_image(flow, valid, max_norm=1.0)[:, 0].T.tolist() == [GREY, GREY]
    with pytest.raises(InputError) as refused:
        flow_to_image(flow, valid)
    assert str(refused.value) == (
        "valid (no pixel) must hold at least one pixel to choose the scale by; give max_norm"
    )
