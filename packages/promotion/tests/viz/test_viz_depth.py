from __future__ import annotations

from typing import Any

import pytest
import torch
from kornia.color import ColorMap

from promotion.viz import depth_picture, depth_to_image
from promotion.viz._legend import amounts, bar_legend
from tokenseek_common import InputError

PLASMA = (ColorMap("plasma", num_colors=256).colors.T * 255).round().int()
GREY = [128, 128, 128]


def test_near_is_bright_far_is_dark_and_the_middle_is_where_the_ratio_is() -> None:
    image = depth_to_image(torch.tensor([[1.0, 10.0, 100.0]]))
    assert image.dtype is torch.uint8
    assert image[:, 0].T.tolist() == PLASMA[[255, 128, 0]].tolist()


def test_depths_beyond_the_bounds_have_the_colours_of_the_bounds() -> None:
    image = depth_to_image(torch.tensor([[0.1, 2.0, 8.0, 900.0]]), near=2.0, far=8.0)
    assert image[:, 0].T.tolist() == PLASMA[[255, 255, 0, 0]].tolist()


def test_unknown_depth_is_grey_and_has_no_part_in_the_bounds() -> None:
    depth = torch.tensor([[1.0, 0.0, 4.0, 1000.0]])
    image = depth_to_image(depth, torch.tensor([[True, False, True, False]]))
    assert image[:, 0].T.tolist() == [PLASMA[255].tolist(), GREY, PLASMA[0].tolist(), GREY]


def test_constant_depth_is_all_near() -> None:
    image = depth_to_image(torch.full((2, 2), 3.0))
    assert image.flatten(1).T.tolist() == [PLASMA[255].tolist()] * 4


def test_picture_is_the_image_with_a_bar_in_metres_to_its_right() -> None:
    depth = torch.tensor([[1.0, 32.0]]).repeat(200, 20)
    picture = depth_picture(depth)
    assert torch.equal(picture[:, :, :40], depth_to_image(depth))
    # The bar stands one letter from the left, and its colours run as the ticks do.
    legend = picture[:, :, 40:]
    assert (legend[:, 13, 18] - PLASMA[0]).abs().max() <= 3
    assert (legend[:, 186, 18] - PLASMA[255]).abs().max() <= 3
    assert (legend[:, :, -1] == 255).all()


def test_bar_says_how_far_each_colour_is() -> None:
    depth = torch.tensor([[1.0, 32.0]]).repeat(200, 20)
    ticks = ["1 m", "2 m", "4 m", "8 m", "16 m", "32 m"]
    colours = PLASMA.flip(0).T.to(torch.uint8)
    bar = bar_legend(colours, ticks, height=200, unknown=False)
    legend = depth_picture(depth)[:, :, 40:]
    assert bytes(legend.permute(1, 2, 0).flatten().tolist()) == bar.tobytes()


def test_bar_says_that_there_are_depths_beyond_its_ends() -> None:
    depth = torch.tensor([[1.0, 32.0]]).repeat(200, 20)
    within = depth_picture(depth, near=1.0, far=32.0)
    assert torch.equal(within, depth_picture(depth))
    beyond = depth_picture(depth, near=2.0, far=16.0)
    assert beyond.shape[2] > within.shape[2]  # the widest text is longer by ">= "


def test_ticks_have_three_digits_or_all_before_the_point() -> None:
    ticks = (0.001234, 2.0, 123.4, 12345.6)
    assert amounts(ticks, "m", below=False, above=False) == [
        *("0.00123 m", "2 m", "123 m", "12346 m")
    ]
    assert amounts(ticks[1:3], "m", below=True, above=True) == ["<= 2 m", ">= 123 m"]


def test_picture_explains_grey_only_where_there_is_some() -> None:
    depth, valid = torch.ones(200, 50), torch.ones(200, 50, dtype=torch.bool)
    assert torch.equal(depth_picture(depth, valid), depth_picture(depth))
    valid[0, 0] = False
    legend = depth_picture(depth, valid)[:, :, 50:]
    left = legend[:, :, 12].T  # a square as high as the letters stands there
    assert (left == torch.tensor(GREY)).all(1).sum() == 12


def test_legend_of_a_small_map_is_high_enough_for_its_texts() -> None:
    picture = depth_picture(torch.ones(1, 2), torch.tensor([[True, False]]))
    assert picture.shape[1] == 7 * 2 * 12  # six ticks and "unknown", two letters high each


@pytest.mark.parametrize("height", [1, 120, 375, 1200])
@pytest.mark.parametrize("bounds", [{"near": 1e-3, "far": 999.0}, {"near": 1.0, "far": 32.0}])
def test_legend_is_never_cut_off(height: int, bounds: dict[str, Any]) -> None:
    depth, valid = torch.full((height, 4), 8.0), torch.ones(height, 4, dtype=torch.bool)
    valid[:, 0] = False
    legend = depth_picture(depth, valid, **bounds)[:, :, 4:]
    for edge in (legend[:, 0], legend[:, -1], legend[:, :, 0], legend[:, :, -1]):
        assert (edge == 255).all()


@pytest.mark.parametrize(
    ("depth", "bounds", "text"),
    [
        (
            [[1.0, torch.inf]],
            {},
            "depth (1 values are NaN or infinite) must be finite wherever it is known; "
            "mark the other pixels as not valid",
        ),
        (
            [[1.0, -2.0]],
            {},
            "depth (-2 m) must be above 0 wherever it is known; mark the other pixels as not valid",
        ),
        (
            [[1.0, 2.0]],
            {"near": 5.0, "far": 5.0},
            "near (5 m) must be above 0 and below far (5 m); "
            "leave both out to take the range of the depth",
        ),
        (
            [[1.0, 2.0]],
            {"near": 0.0},
            "near (0 m) must be above 0 and below far (2 m); "
            "leave both out to take the range of the depth",
        ),
    ],
)
def test_depth_that_has_no_colour_is_refused(
    depth: list[list[float]], bounds: dict[str, Any], text: str
) -> None:
    with pytest.raises(InputError) as refused:
        depth_to_image(torch.tensor(depth), **bounds)
    assert str(refused.value) == text


@pytest.mark.parametrize("bounds", [{}, {"near": 1.0}, {"far": 1.0}])
def test_depth_that_is_nowhere_known_has_no_bounds_of_its_own(bounds: dict[str, Any]) -> None:
    depth, valid = torch.zeros(1, 2), torch.zeros(1, 2, dtype=torch.bool)
    assert depth_to_image(depth, valid, near=1.0, far=2.0)[:, 0].T.tolist() == [GREY, GREY]
    with pytest.raises(InputError) as refused:
        depth_to_image(depth, valid, **bounds)
    assert str(refused.value) == (
        "valid (no pixel) must hold at least one pixel to choose the scale by; give near and far"
    )
