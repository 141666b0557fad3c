from __future__ import annotations

import math
import statistics
from dataclasses import asdict
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from promotion.metrics import Alignment, Crop, DepthAccumulator, DepthMetrics, depth_metrics
from promotion.metrics._crop import crop_mask
from tokenseek_common import InputError

EVERYWHERE = torch.ones(1, 2, dtype=torch.bool)
FIGURES = (
    *("abs_rel", "sq_rel", "rmse", "rmse_log", "log10", "silog"),
    *("delta1", "delta2", "delta3"),
)
# Rows and columns of a KITTI image of 375 x 1242 pixels, as the benchmarks print them.
KITTI_CROPS = {
    Crop.NONE: (0, 375, 0, 1242),
    Crop.EIGEN: (124, 342, 44, 1197),
    Crop.GARG: (153, 371, 44, 1197),
}


def slow_reference(
    predicted: Tensor,
    target: Tensor,
    valid: Tensor,
    alignment: Alignment,
    min_depth: float,
    max_depth: float,
) -> dict[str, float]:
    """Visit the images one by one, and the pixels of each in turn."""
    of_images: list[dict[str, float]] = []
    for depth, truth, mask in zip(predicted, target, valid, strict=True):
        pairs = [
            (depth[y, x].item(), truth[y, x].item())
            for y in range(truth.shape[0])
            for x in range(truth.shape[1])
            if mask[y, x] and min_depth < truth[y, x].item() < max_depth
        ]
        if not pairs:
            continue
        scale, shift = 1.0, 0.0
        if alignment is Alignment.MEDIAN:
            scale = statistics.median(z for _, z in pairs) / statistics.median(p for p, _ in pairs)
        elif alignment is Alignment.SCALE_AND_SHIFT and len(pairs) > 1:
            scale, shift = statistics.linear_regression(*zip(*pairs, strict=True))
        elif alignment is Alignment.SCALE_AND_SHIFT:
            scale, shift = 0.0, pairs[0][1]
        sums = dict.fromkeys((*FIGURES, "mean_log"), 0.0)
        for p, z in pairs:
            z_hat = min(max(scale * p + shift, min_depth), max_depth)
            sums["abs_rel"] += abs(z_hat - z) / z
            sums["sq_rel"] += (z_hat - z) ** 2 / z
            sums["rmse"] += (z_hat - z) ** 2
            sums["rmse_log"] += math.log(z_hat / z) ** 2
            sums["mean_log"] += math.log(z_hat / z)
            sums["log10"] += abs(math.log10(z_hat / z))
            for k in (1, 2, 3):
                sums[f"delta{k}"] += max(z_hat / z, z / z_hat) < 1.25**k
        means = {name: total / len(pairs) for name, total in sums.items()}
        variance = means["rmse_log"] - means.pop("mean_log") ** 2
        means["silog"] = 100 * math.sqrt(max(variance, 0))
        means["rmse"] = math.sqrt(means["rmse"])
        means["rmse_log"] = math.sqrt(means["rmse_log"])
        of_images.append(means)
    return {name: statistics.fmean(image[name] for image in of_images) for name in FIGURES}


def random_batch(seed: int, batch: int, height: int, width: int) -> tuple[Tensor, ...]:
    """Depth from 1 to 100 m, predicted at a third of its scale, and no pixel in image 1."""
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, height, width)
    target = 10 ** (2 * torch.rand(shape, generator=generator, dtype=torch.float64))
    noise = torch.randn(shape, generator=generator, dtype=torch.float64)
    predicted = target / 3 * (0.2 * noise).exp()
    valid = torch.rand(shape, generator=generator) < 0.7
    valid[1:2] = False
    target[0, 0, 0], valid[0, 0, 0] = 5.0, True
    return predicted, target, valid


def measure(
    predicted: Tensor, target: Tensor, valid: Tensor = EVERYWHERE, **protocol: Any
) -> DepthMetrics:
    """Measure without alignment and crop, unless they are given."""
    return depth_metrics(
        predicted, target, valid, **{"alignment": Alignment.RAW, "crop": Crop.NONE, **protocol}
    )


def figures(metrics: DepthMetrics) -> dict[str, float]:
    """The errors alone."""
    return {name: getattr(metrics, name) for name in FIGURES}


def test_figures_of_two_pixels_are_those_worked_out_by_hand() -> None:
    metrics = measure(torch.tensor([[4.0, 10.0]]), torch.tensor([[2.0, 10.0]]))

    assert figures(metrics) == pytest.approx(
        {
            "abs_rel": 0.5,
            "sq_rel": 1.0,
            "rmse": math.sqrt(2),
            "rmse_log": math.log(2) / math.sqrt(2),
            "log10": math.log10(2) / 2,
            "silog": 100 * math.log(2) / 2,
            "delta1": 0.5,
            "delta2": 0.5,
            "delta3": 0.5,
        },
        rel=1e-12,
    )
    assert asdict(metrics) == {
        **figures(metrics),
        "alignment": Alignment.RAW,
        "crop": Crop.NONE,
        "min_depth": 1e-3,
        "max_depth": 80.0,
        "pixels": 2,
        "images": 1,
        "images_skipped": 0,
    }


def test_each_delta_allows_its_own_power_of_the_ratio() -> None:
    metrics = measure(
        torch.tensor([[1.2, 10.0, 1.9, 10.0]]),
        torch.tensor([[1.0, 15.0, 1.0, 20.0]]),
        torch.ones(1, 4, dtype=torch.bool),
    )
    assert (metrics.delta1, metrics.delta2, metrics.delta3) == (0.25, 0.5, 0.75)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    batch=st.integers(1, 4),
    height=st.integers(1, 5),
    width=st.integers(1, 5),
    alignment=st.sampled_from(Alignment),
)
def test_figures_are_those_of_the_slow_reference(
    seed: int, batch: int, height: int, width: int, alignment: Alignment
) -> None:
    predicted, target, valid = random_batch(seed, batch, height, width)

    metrics = measure(predicted, target, valid, alignment=alignment, min_depth=2.0, max_depth=50.0)

    expected = slow_reference(predicted, target, valid, alignment, 2.0, 50.0)
    assert figures(metrics) == pytest.approx(expected, rel=1e-6, abs=1e-5)
    assert metrics.images + metrics.images_skipped == batch


def test_a_set_in_pieces_has_the_figures_of_the_whole() -> None:
    predicted, target, valid = random_batch(0, 5, 6, 7)
    whole = measure(predicted, target, valid, alignment=Alignment.MEDIAN)

    parts = [DepthAccumulator(alignment=Alignment.MEDIAN, crop=Crop.NONE) for _ in range(3)]
    for image in zip(predicted, target, valid, strict=True):
        parts[0].update(*image)
    parts[1].update(predicted[:2], target[:2], valid[:2])
    parts[2].update(predicted[2:], target[2:], valid[2:])
    parts[1].merge(parts[2])

    for part in (parts[0].compute(), parts[1].compute()):
        assert figures(part) == pytest.approx(figures(whole), rel=1e-12)
        assert (part.pixels, part.images, part.images_skipped) == (whole.pixels, 4, 1)


def test_a_sparse_image_counts_as_much_as_a_dense_one() -> None:
    target = torch.ones(2, 1, 4)
    predicted = torch.stack([torch.full((1, 4), 2.0), torch.full((1, 4), 4.0)])
    valid = torch.tensor([[[True, True, True, True]], [[True, False, False, False]]])
    assert measure(predicted, target, valid).abs_rel == (1 + 3) / 2


@pytest.mark.parametrize("crop", Crop)
def test_crop_measures_the_rows_and_columns_that_the_benchmarks_do(crop: Crop) -> None:
    top, bottom, left, right = KITTI_CROPS[crop]
    inside = torch.zeros(375, 1242, dtype=torch.bool)
    inside[top:bottom, left:right] = True
    target = torch.full((375, 1242), 10.0)
    predicted = torch.where(inside, 10.0, 20.0)

    metrics = measure(predicted, target, torch.ones_like(inside), crop=crop)

    assert (metrics.abs_rel, metrics.pixels) == (0.0, int(inside.sum()))
    assert metrics.crop is crop


@pytest.mark.parametrize(
    ("crop", "rows", "columns"),
    [(Crop.EIGEN, (33243, 91351), (3594, 96405)), (Crop.GARG, (40810, 99189), (3594, 96405))],
)
def test_crop_keeps_every_digit_of_its_shares(
    crop: Crop, rows: tuple[int, int], columns: tuple[int, int]
) -> None:
    high, wide = crop_mask(crop, 100_000, 10), crop_mask(crop, 10, 100_000)
    inside = high.any(1).nonzero(), wide.any(0).nonzero()
    assert (int(inside[0][0]), int(inside[0][-1]) + 1) == rows
    assert (int(inside[1][0]), int(inside[1][-1]) + 1) == columns


def test_depths_at_or_beyond_the_bounds_are_not_measured() -> None:
    target = torch.tensor([[0.5, 1.0, 2.0, 80.0, torch.inf]])
    valid = torch.ones(1, 5, dtype=torch.bool)
    metrics = measure(torch.full((1, 5), 2.0), target, valid, min_depth=1.0)
    assert (metrics.pixels, metrics.abs_rel) == (1, 0.0)
    assert (metrics.min_depth, metrics.max_depth) == (1.0, 80.0)


def test_predictions_are_clipped_to_the_bounds() -> None:
    target = torch.tensor([[2.0, 40.0]])
    metrics = measure(torch.tensor([[-3.0, 1000.0]]), target, min_depth=1.0)
    assert metrics.abs_rel == (1 / 2 + 40 / 40) / 2


def test_predictions_are_clipped_after_they_are_aligned() -> None:
    metrics = measure(
        torch.tensor([[100.0, 200.0, 400.0]]),
        torch.tensor([[1.0, 2.0, 4.0]]),
        torch.ones(1, 3, dtype=torch.bool),
        alignment=Alignment.MEDIAN,
    )
    assert (metrics.abs_rel, metrics.alignment) == (0.0, Alignment.MEDIAN)


def test_alignment_looks_at_measured_pixels_alone() -> None:
    target = torch.tensor([[1.0, 2.0, 3.0, 90.0, 4.0]])
    predicted = torch.tensor([[2.0, 4.0, 6.0, 1.0, 7000.0]])
    valid = torch.tensor([[True, True, True, True, False]])
    for alignment in (Alignment.MEDIAN, Alignment.SCALE_AND_SHIFT):
        metrics = measure(predicted, target, valid, alignment=alignment)
        assert metrics.abs_rel == pytest.approx(0.0, abs=1e-12)


def test_scaled_predictions_have_no_scale_invariant_error() -> None:
    _, target, valid = random_batch(1, 1, 6, 6)
    metrics = measure(target / 2, target, valid)
    assert metrics.silog == pytest.approx(0.0, abs=1e-9)
    assert metrics.abs_rel == pytest.approx(0.5)


def test_accumulators_with_different_protocols_are_not_merged() -> None:
    raw = DepthAccumulator(alignment=Alignment.RAW, crop=Crop.GARG)
    aligned = DepthAccumulator(alignment=Alignment.MEDIAN, crop=Crop.NONE, max_depth=10.0)
    with pytest.raises(InputError) as refused:
        raw.merge(aligned)
    assert str(refused.value) == (
        "other (alignment median, crop none, 0.001 to 10 m) must measure as this accumulator "
        "does (alignment raw, crop garg, 0.001 to 80 m); their figures cannot be averaged"
    )


def test_a_prediction_that_is_not_finite_is_refused() -> None:
    with pytest.raises(InputError) as refused:
        measure(torch.tensor([[torch.nan, 1.0]]), torch.ones(1, 2))
    assert str(refused.value) == (
        "predicted (1 of 2 values are NaN or infinite) must be finite wherever the truth is "
        "valid; mend it, or leave those pixels out of valid"
    )


def test_a_truth_that_is_not_a_number_is_refused() -> None:
    with pytest.raises(InputError) as refused:
        measure(torch.ones(1, 2), torch.tensor([[torch.nan, 1.0]]))
    assert str(refused.value) == (
        "target (1 of 2 values are NaN or infinite) must be finite wherever the truth is "
        "valid; mend it, or leave those pixels out of valid"
    )


def test_a_refused_batch_leaves_no_trace() -> None:
    accumulator = DepthAccumulator(alignment=Alignment.RAW, crop=Crop.NONE)
    accumulator.update(torch.ones(1, 2), torch.ones(1, 2), EVERYWHERE)
    before = accumulator.compute()
    predicted = torch.tensor([[[1.0, 1.0]], [[1.0, torch.inf]]])
    with pytest.raises(InputError, match="must be finite"):
        accumulator.update(predicted, torch.ones(2, 1, 2), torch.stack([EVERYWHERE] * 2))
    assert accumulator.compute() == before


def test_truth_that_is_nowhere_measured_is_refused() -> None:
    with pytest.raises(InputError) as refused:
        measure(torch.ones(2, 1, 2), torch.full((2, 1, 2), 99.0), torch.stack([EVERYWHERE] * 2))
    assert str(refused.value) == (
        "valid (no pixel in 2 images) must hold at least one pixel to measure at; "
        "give an image whose truth is known somewhere"
    )


@pytest.mark.parametrize(
    ("bounds", "text"),
    [
        (
            {"min_depth": 0.0},
            "min_depth (0) must be above 0, since errors are relative; "
            "take the nearest depth that the sensor can measure",
        ),
        (
            {"min_depth": 5.0, "max_depth": 5.0},
            "max_depth (5) must be above min_depth (5); raise the one or lower the other",
        ),
    ],
)
def test_bounds_that_leave_no_depth_are_refused(bounds: dict[str, float], text: str) -> None:
    with pytest.raises(InputError) as refused:
        DepthAccumulator(alignment=Alignment.RAW, crop=Crop.NONE, **bounds)
    assert str(refused.value) == text
