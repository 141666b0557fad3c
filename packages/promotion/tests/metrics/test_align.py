from __future__ import annotations

import pytest
import torch

from promotion.metrics import Alignment, align
from tokenseek_common import InputError

EVERYWHERE = torch.ones(1, 4, dtype=torch.bool)


def test_raw_alignment_changes_nothing() -> None:
    predicted, target = torch.rand(2, 3, 4), torch.rand(2, 3, 4)
    aligned = align(predicted, target, torch.ones(2, 3, 4, dtype=torch.bool), Alignment.RAW)
    assert torch.equal(aligned, predicted)


def test_median_alignment_takes_the_mean_of_the_two_middle_values() -> None:
    predicted = torch.tensor([[1.0, 2.0, 4.0, 8.0]])  # median 3
    target = torch.tensor([[5.0, 5.0, 7.0, 7.0]])  # median 6
    aligned = align(predicted, target, EVERYWHERE, Alignment.MEDIAN)
    torch.testing.assert_close(aligned, 2 * predicted)


def test_scale_and_shift_recover_an_affine_truth_of_each_image() -> None:
    predicted = torch.rand(2, 5, 6, dtype=torch.float64)
    scale = torch.tensor([3.0, 0.5]).view(2, 1, 1)
    target = scale * predicted + 7.0
    valid = torch.rand(2, 5, 6) < 0.5
    target = torch.where(valid, target, 0.0)

    aligned = align(predicted, target, valid, Alignment.SCALE_AND_SHIFT)

    torch.testing.assert_close(aligned, scale * predicted + 7.0)


def test_a_constant_prediction_becomes_the_mean_of_the_truth() -> None:
    target = torch.tensor([[1.0, 2.0, 3.0, 6.0]])
    aligned = align(torch.full((1, 4), 0.25), target, EVERYWHERE, Alignment.SCALE_AND_SHIFT)
    torch.testing.assert_close(aligned, torch.full((1, 4), 3.0))


def test_alignment_keeps_the_precision_of_the_prediction() -> None:
    predicted = torch.ones(1, 4, dtype=torch.float16)
    aligned = align(predicted, torch.ones(1, 4), EVERYWHERE, Alignment.MEDIAN)
    assert aligned.dtype is torch.float16


def test_an_image_without_valid_pixels_is_refused() -> None:
    with pytest.raises(InputError) as refused:
        align(torch.ones(1, 4), torch.ones(1, 4), ~EVERYWHERE, Alignment.MEDIAN)
    assert str(refused.value) == (
        "valid (no pixel of an image) must hold at least one pixel to align at; "
        "leave that image out"
    )


def test_a_prediction_around_zero_has_no_median_ratio() -> None:
    with pytest.raises(InputError) as refused:
        align(
            torch.tensor([[-1.0, -1.0, 1.0, 1.0]]), torch.ones(1, 4), EVERYWHERE, Alignment.MEDIAN
        )
    assert str(refused.value) == (
        "predicted (median depth 0) must be positive to be aligned by medians; "
        "predict depth in front of the camera, or choose another alignment"
    )
