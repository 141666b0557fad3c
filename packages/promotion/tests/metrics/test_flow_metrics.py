from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from promotion.metrics import FlowAccumulator, FlowMetrics, endpoint_error, flow_metrics
from tokenseek_common import InputError

EVERYWHERE = torch.ones(1, 4, dtype=torch.bool)


def row(*vectors: tuple[float, float]) -> Tensor:
    """A flow map of one row."""
    return torch.tensor(vectors).T[:, None]


def slow_reference(
    predicted: Tensor, target: Tensor, valid: Tensor, occlusion: Tensor | None
) -> dict[str, Any]:
    """Visit the pixels of a batch one by one and collect the errors of each kind."""
    errors: list[float] = []
    fl: list[bool] = []
    of_image: list[float] = []
    speeds: dict[str, list[float]] = {"s0_10": [], "s10_40": [], "s40_plus": []}
    seen: dict[str, list[float]] = {"occluded": [], "visible": []}
    fl_seen: dict[str, list[bool]] = {"occluded": [], "visible": []}
    batch, _, height, width = predicted.shape
    for b in range(batch):
        errors_before = len(errors)
        for y in range(height):
            for x in range(width):
                if not valid[b, y, x]:
                    continue
                u, v = target[b, :, y, x].tolist()
                u_hat, v_hat = predicted[b, :, y, x].tolist()
                error, speed = math.hypot(u_hat - u, v_hat - v), math.hypot(u, v)
                errors.append(error)
                fl.append(error > 3 and error / max(speed, 1e-12) > 0.05)
                bucket = "s0_10" if speed < 10 else "s10_40" if speed <= 40 else "s40_plus"
                speeds[bucket].append(error)
                if occlusion is not None:
                    kind = "occluded" if occlusion[b, y, x] else "visible"
                    seen[kind].append(error)
                    fl_seen[kind].append(fl[-1])
        if len(errors) > errors_before:
            of_image.append(sum(errors[errors_before:]) / (len(errors) - errors_before))

    def mean(values: list[Any]) -> float | None:
        return sum(values) / len(values) if values else None

    return {
        "epe": mean(errors),
        "epe_per_image": mean(of_image),
        **{f"outliers_{k}px": mean([e > k for e in errors]) for k in (1, 3, 5)},
        "fl_all": mean(fl),
        **{f"epe_{name}": mean(values) for name, values in speeds.items()},
        **{f"epe_{name}": mean(values) for name, values in seen.items()},
        **{f"fl_{name}": mean(values) for name, values in fl_seen.items()},
        "pixels": len(errors),
        "images": len(of_image),
        "images_skipped": batch - len(of_image),
    }


def known(figures: dict[str, Any]) -> dict[str, float]:
    """The figures that are there."""
    return {name: value for name, value in figures.items() if value is not None}


def random_batch(seed: int, batch: int, height: int, width: int) -> tuple[Tensor, ...]:
    """Flow of all speeds with errors of all sizes, half of it valid, and no pixel in image 1."""
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, 2, height, width)
    reach = 10 ** (2 * torch.rand(batch, 1, height, width, generator=generator))
    target = reach * torch.randn(shape, generator=generator)
    predicted = target + 3 * torch.randn(shape, generator=generator)
    valid = torch.rand(batch, height, width, generator=generator) < 0.5
    valid[1:2] = False
    valid[0, 0, 0] = True
    return predicted, target, valid, torch.rand(valid.shape, generator=generator) < 0.3


def test_endpoint_error_is_the_length_of_the_difference() -> None:
    error = endpoint_error(row((3.0, 4.0), (1.0, 1.0)), row((0.0, 0.0), (1.0, -1.0)))
    torch.testing.assert_close(error, torch.tensor([[5.0, 2.0]]))


def test_endpoint_error_reads_a_map_two_pixels_wide_by_its_channels() -> None:
    # The width is what a channel-last function would take for the two components.
    predicted = torch.tensor([[[3.0, 0.0]], [[4.0, 1.0]]])
    torch.testing.assert_close(
        endpoint_error(predicted, torch.zeros(2, 1, 2)), torch.tensor([[5.0, 1.0]])
    )


def test_figures_of_four_pixels_are_those_worked_out_by_hand() -> None:
    # Errors 0, 2, 4 and 6 px at speeds 5, 10, 40 and 200 px; 6 px is 3 % of 200.
    target = row((5.0, 0.0), (0.0, 10.0), (-40.0, 0.0), (0.0, 200.0))
    predicted = target + row((0.0, 0.0), (0.0, 2.0), (4.0, 0.0), (0.0, -6.0))
    occlusion = torch.tensor([[False, True, True, False]])

    assert flow_metrics(predicted, target, EVERYWHERE, occlusion) == FlowMetrics(
        epe=3.0,
        epe_per_image=3.0,
        outliers_1px=0.75,
        outliers_3px=0.5,
        outliers_5px=0.25,
        fl_all=0.25,
        epe_s0_10=0.0,
        epe_s10_40=3.0,
        epe_s40_plus=6.0,
        epe_occluded=3.0,
        epe_visible=3.0,
        fl_occluded=0.5,
        fl_visible=0.0,
        pixels=4,
        images=1,
        images_skipped=0,
    )


def test_an_error_at_a_limit_is_no_outlier() -> None:
    target = row((0.0, 0.0), (0.0, 0.0), (0.0, 0.0), (80.0, 0.0))
    predicted = row((1.0, 0.0), (0.0, 3.0), (-5.0, 0.0), (84.0, 0.0))

    metrics = flow_metrics(predicted, target, EVERYWHERE)

    assert (metrics.outliers_1px, metrics.outliers_3px, metrics.outliers_5px) == (0.75, 0.5, 0.0)
    assert metrics.fl_all == 0.25  # the 5 px at no motion; 4 px are exactly 5 % of 80


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    batch=st.integers(1, 4),
    height=st.integers(1, 5),
    width=st.integers(1, 5),
    with_occlusion=st.booleans(),
)
def test_figures_are_those_of_the_slow_reference(
    seed: int, batch: int, height: int, width: int, with_occlusion: bool
) -> None:
    predicted, target, valid, occlusion = random_batch(seed, batch, height, width)
    shown = occlusion if with_occlusion else None

    metrics = flow_metrics(predicted, target, valid, shown)

    expected = slow_reference(predicted.double(), target.double(), valid, shown)
    assert known(asdict(metrics)) == pytest.approx(known(expected), rel=1e-12, abs=0)


def test_a_set_in_pieces_has_the_figures_of_the_whole() -> None:
    predicted, target, valid, occlusion = random_batch(0, 5, 6, 7)
    whole = flow_metrics(predicted, target, valid, occlusion)

    one_by_one, first, second = FlowAccumulator(), FlowAccumulator(), FlowAccumulator()
    for image in zip(predicted, target, valid, occlusion, strict=True):
        one_by_one.update(*image)
    first.update(predicted[:2], target[:2], valid[:2], occlusion[:2])
    second.update(predicted[2:], target[2:], valid[2:], occlusion[2:])
    first.merge(second)

    assert asdict(one_by_one.compute()) == pytest.approx(asdict(whole), rel=1e-12)
    assert asdict(first.compute()) == pytest.approx(asdict(whole), rel=1e-12)


def test_pixels_count_alike_in_one_mean_and_images_in_the_other() -> None:
    target = torch.zeros(2, 2, 1, 4)
    predicted = torch.zeros(2, 2, 1, 4)
    predicted[0, 0], predicted[1, 0] = 1.0, 5.0
    valid = torch.tensor([[[True, True, True, True]], [[True, False, False, False]]])

    metrics = flow_metrics(predicted, target, valid)

    assert metrics.epe == (4 * 1 + 5) / 5
    assert metrics.epe_per_image == (1 + 5) / 2


def test_extra_batch_dimensions_count_as_images() -> None:
    predicted, target, valid, occlusion = random_batch(3, 4, 3, 5)
    nested = [maps.unflatten(0, (2, 2)) for maps in (predicted, target, valid, occlusion)]
    assert flow_metrics(*nested) == flow_metrics(predicted, target, valid, occlusion)


def test_regions_without_pixels_are_none() -> None:
    metrics = flow_metrics(torch.ones(2, 1, 4), torch.zeros(2, 1, 4), EVERYWHERE)
    assert metrics.epe_s0_10 == pytest.approx(math.sqrt(2))
    absent = [name for name, value in asdict(metrics).items() if value is None]
    assert absent == [
        *("epe_s10_40", "epe_s40_plus"),
        *("epe_occluded", "epe_visible", "fl_occluded", "fl_visible"),
    ]


def test_images_without_occlusion_have_no_part_in_the_split() -> None:
    accumulator = FlowAccumulator()
    accumulator.update(torch.ones(2, 1, 4), torch.zeros(2, 1, 4), EVERYWHERE)
    accumulator.update(
        torch.zeros(2, 1, 4), torch.zeros(2, 1, 4), EVERYWHERE, torch.zeros_like(EVERYWHERE)
    )
    metrics = accumulator.compute()
    assert (metrics.epe_visible, metrics.epe_occluded) == (0.0, None)


def test_sums_keep_what_half_precision_would_lose() -> None:
    predicted = torch.full((2, 300, 300), 0.1, dtype=torch.float16)
    target = torch.zeros_like(predicted)
    metrics = flow_metrics(predicted, target, torch.ones(300, 300, dtype=torch.bool))
    assert metrics.epe == pytest.approx(math.sqrt(2) * predicted[0, 0, 0].item(), rel=1e-12)


def test_a_prediction_with_a_graph_is_measured_too() -> None:
    predicted = torch.ones(2, 1, 4, requires_grad=True)
    assert flow_metrics(predicted, torch.zeros(2, 1, 4), EVERYWHERE).outliers_1px == 1.0


def test_values_outside_the_mask_do_not_matter() -> None:
    predicted, target = torch.zeros(2, 1, 4), torch.zeros(2, 1, 4)
    predicted[:, :, 0], target[:, :, 0] = torch.nan, torch.inf
    assert flow_metrics(predicted, target, torch.tensor([[False, True, True, True]])).epe == 0.0


@pytest.mark.parametrize("name", ["predicted", "target"])
def test_values_that_are_not_finite_are_refused(name: str) -> None:
    maps = {"predicted": torch.zeros(2, 1, 4), "target": torch.zeros(2, 1, 4)}
    maps[name][0, 0, 1], maps[name][1, 0, 2] = torch.nan, torch.inf
    with pytest.raises(InputError) as refused:
        flow_metrics(**maps, valid=EVERYWHERE)
    assert str(refused.value) == (
        f"{name} (2 of 8 values are NaN or infinite) must be finite wherever the truth is valid; "
        "mend it, or leave those pixels out of valid"
    )


def test_a_refused_batch_leaves_no_trace() -> None:
    accumulator = FlowAccumulator()
    accumulator.update(torch.ones(2, 1, 4), torch.zeros(2, 1, 4), EVERYWHERE)
    before = accumulator.compute()
    predicted = torch.zeros(2, 2, 1, 4)
    predicted[1] = torch.nan
    with pytest.raises(InputError, match="must be finite"):
        accumulator.update(predicted, torch.zeros(2, 2, 1, 4), torch.stack([EVERYWHERE] * 2))
    assert accumulator.compute() == before


def test_truth_that_is_nowhere_valid_is_refused() -> None:
    flow = torch.zeros(3, 2, 1, 4)
    with pytest.raises(InputError) as refused:
        flow_metrics(flow, flow, torch.zeros(3, 1, 4, dtype=torch.bool))
    assert str(refused.value) == (
        "valid (no pixel in 3 images) must hold at least one pixel to measure at; "
        "give an image whose truth is known somewhere"
    )
