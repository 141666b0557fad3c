from __future__ import annotations

import pytest
import torch
from kornia.color import ColorMap

from promotion.viz import error_picture, error_to_image
from promotion.viz._legend import bar_legend
from tokenseek_common import InputError

HOT = (ColorMap("hot", num_colors=256).colors.T * 255).round().int()
GREY = [128, 128, 128]


def test_error_runs_from_black_to_white() -> None:
    image = error_to_image(torch.tensor([[0.0, 2.0, 4.0, 8.0]]), max_error=4.0)
    assert image.dtype is torch.uint8
    assert image[:, 0].T.tolist() == HOT[[0, 128, 255, 255]].tolist()
    assert HOT[0].max() < 20
    assert HOT[255].tolist() == [255, 255, 255]


def test_without_a_scale_one_pixel_in_a_hundred_lies_beyond() -> None:
    error = torch.arange(201.0)[None]  # 198 of 200 steps lie at 99 %
    assert torch.equal(error_to_image(error), error_to_image(error, max_error=198.0))


def test_no_error_is_black_without_a_scale_too() -> None:
    assert error_to_image(torch.zeros(1, 1)).flatten().tolist() == HOT[0].tolist()


def test_unknown_error_is_grey_and_has_no_part_in_the_scale() -> None:
    error = torch.tensor([[1.0, 1000.0, torch.nan]])
    image = error_to_image(error, torch.tensor([[True, False, False]]))
    assert image[:, 0].T.tolist() == [[255, 255, 255], GREY, GREY]


@pytest.mark.parametrize("unit", ["px", "m"])
def test_picture_is_the_image_with_a_labelled_bar_to_its_right(unit: str) -> None:
    error = torch.tensor([[0.0, 5.0]]).repeat(200, 20)
    picture = error_picture(error, max_error=5.0, unit=unit)
    assert torch.equal(picture[:, :, :40], error_to_image(error))

    texts = [f"{tick} {unit}" for tick in range(6)]
    bar = bar_legend(HOT.T.to(torch.uint8), texts, height=200, unknown=False)
    assert bytes(picture[:, :, 40:].permute(1, 2, 0).flatten().tolist()) == bar.tobytes()


def test_bar_says_that_there_are_errors_beyond_its_end_and_what_grey_is() -> None:
    error, valid = torch.full((200, 40), 9.0), torch.ones(200, 40, dtype=torch.bool)
    valid[0, 0] = False
    picture = error_picture(error, valid, max_error=5.0)

    texts = [*(f"{tick} px" for tick in range(5)), ">= 5 px"]
    bar = bar_legend(HOT.T.to(torch.uint8), texts, height=200, unknown=True)
    assert bytes(picture[:, :, 40:].permute(1, 2, 0).flatten().tolist()) == bar.tobytes()


def test_a_scale_that_is_not_positive_is_refused() -> None:
    with pytest.raises(InputError) as refused:
        error_to_image(torch.ones(1, 1), max_error=-1.0)
    assert str(refused.value) == (
        "max_error (-1) must be above 0; leave it out to choose it by the errors"
    )


def test_an_error_that_is_not_finite_is_refused() -> None:
    with pytest.raises(InputError) as refused:
        error_to_image(torch.tensor([[torch.nan]]))
    assert str(refused.value) == (
        "error (1 values are NaN or infinite) must be finite wherever it is known; "
        "mark the other pixels as not valid"
    )


def test_an_error_that_is_nowhere_known_has_no_scale_of_its_own() -> None:
    with pytest.raises(InputError) as refused:
        error_picture(torch.zeros(1, 2), torch.zeros(1, 2, dtype=torch.bool))
    assert str(refused.value) == (
        "valid (no pixel) must hold at least one pixel to choose the scale by; give max_error"
    )
