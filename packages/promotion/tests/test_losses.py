from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from promotion import LossConfig, ProMotionOutput, losses
from promotion._losses import depth_loss, flow_loss, relative_depth_loss, sequence
from promotion.datasets import Sample
from tokenseek_common import InputError


def sample_of(*, flow_valid: bool = True, depth_valid: bool = True) -> Sample:
    generator = torch.Generator().manual_seed(0)

    def rand(*shape: int) -> Tensor:
        return torch.rand(*shape, dtype=torch.float64, generator=generator)

    mask = rand(2, 4, 5) > 0.3
    return Sample(
        image1=rand(2, 3, 4, 5),
        image2=rand(2, 3, 4, 5),
        flow=8 * rand(2, 2, 4, 5) - 4,
        flow_valid=mask & flow_valid,
        depth=1 + 20 * rand(2, 4, 5),
        depth_valid=mask & depth_valid,
    )


def output_of(sample: Sample, **parts: Tensor) -> ProMotionOutput:
    return ProMotionOutput(
        flows=[sample.flow + error for error in (2.0, 1.0)],
        depths=[sample.depth * factor for factor in (1.5, 1.1)],
        **parts,
    )


def test_flow_is_the_mean_over_known_pixels() -> None:
    flow, target = torch.zeros(1, 2, 1, 3).double(), torch.zeros(1, 2, 1, 3).double()
    target[0, :, 0] = torch.tensor([[1.0, 500.0, 7.0], [-2.0, 0.0, 7.0]])
    valid = torch.tensor([[[True, True, False]]])
    assert flow_loss(flow, target, valid).item() == 3.0  # 500 px are not learned from


def test_depth_is_the_root_of_the_scale_invariant_square() -> None:
    target = torch.tensor([[[2.0, 4.0, 90.0]], [[5.0, 6.0, 7.0]]]).double()
    depth = torch.tensor([[[3.0, 4.0, 1.0]], [[1.0, 1.0, 1.0]]]).double()
    valid = torch.tensor([[[True, True, True]], [[False, False, False]]])
    d = [math.log(3 / 2), 0.0]  # 90 m are beyond the range, the second picture is unknown
    expected = math.sqrt(sum(x * x for x in d) / 2 - 0.85 * (sum(d) / 2) ** 2)
    found = depth_loss(depth, target, valid, LossConfig())
    assert found.item() == pytest.approx(expected, rel=1e-12)


def test_a_wrong_scale_is_forgiven_in_full_or_not_at_all() -> None:
    sample = sample_of()
    scaled = [
        depth_loss(
            3 * sample.depth, sample.depth, sample.depth_valid, LossConfig(scale_invariance=x)
        )
        for x in (1.0, 0.0)
    ]
    assert scaled[0].item() == pytest.approx(1e-4)  # the root's floor
    assert scaled[1].item() == pytest.approx(math.log(3))


def test_relative_depth_is_off_by_its_share_of_the_truth_once_the_means_of_the_logs_agree() -> None:
    target = torch.tensor([[[2.0, 4.0], [8.0, 3.0]]], dtype=torch.float64)
    # Off by factors 1/2, 1 and 2 where it is known, and ten metres too far at large.
    depth = 10 * target * torch.tensor([[[0.5, 1.0], [2.0, 7.0]]], dtype=torch.float64)
    known = torch.tensor([[[True, True], [True, False]]])
    expected = (0.5 + 0 + 1) / 3
    assert relative_depth_loss(depth, target, known).item() == pytest.approx(expected, rel=1e-12)


def test_relative_depth_moves_no_picture_as_a_whole() -> None:
    sample = sample_of()
    logarithm = torch.rand_like(sample.depth, requires_grad=True)
    relative_depth_loss(logarithm.exp(), sample.depth, sample.depth_valid).backward()
    assert logarithm.grad is not None
    assert logarithm.grad.abs().max() > 1e-3
    assert logarithm.grad.sum().item() == pytest.approx(0, abs=1e-6)


def test_the_relative_error_is_part_of_the_depth_loss_where_asked_for() -> None:
    sample = sample_of()
    output = output_of(sample)
    plain, both = (losses(output, sample, LossConfig(relative=x)).depth for x in (0.0, 2.0))
    relative = [
        relative_depth_loss(depth, sample.depth, sample.depth_valid) for depth in output.depths
    ]
    assert both.item() == pytest.approx((plain + 2 * sequence(relative, 0.85, plain * 0)).item())


def test_later_steps_count_more() -> None:
    steps = [torch.tensor(float(x)) for x in (8, 4, 2)]
    assert sequence(steps, 0.5, torch.zeros(())).item() == 8 * 0.25 + 4 * 0.5 + 2


def test_the_total_is_the_weighted_sum_of_its_parts() -> None:
    sample = sample_of()
    parts = {"denoising_loss": torch.tensor([1.0, 3.0]), "margin_loss": torch.tensor([4.0, 6.0])}
    found = losses(output_of(sample, **parts), sample, LossConfig())
    assert found.flow.item() == pytest.approx(0.8 * 4 + 2)
    assert (found.denoising.item(), found.margin.item()) == (2, 5)
    expected = found.flow + found.depth + 0.05 * 2 + 0.05 * 5
    assert found.total.item() == pytest.approx(expected.item())


@pytest.mark.parametrize("absent", ["flow", "depth"])
def test_truth_that_is_absent_adds_nothing_and_leaves_gradients_finite(absent: str) -> None:
    sample = sample_of(flow_valid=absent != "flow", depth_valid=absent != "depth")
    flow, depth = (x.clone().requires_grad_() for x in (sample.flow, sample.depth))
    found = losses(ProMotionOutput(flows=[flow], depths=[depth]), sample, LossConfig())
    found.total.backward()
    assert getattr(found, absent).item() == 0
    assert all(x.grad is not None and x.grad.isfinite().all() for x in (flow, depth))


def test_no_output_is_no_loss() -> None:
    assert losses(ProMotionOutput(), sample_of(), LossConfig()).total.item() == 0


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("flow_gamma", 0.0, "flow_gamma (0.0) must be above 0 and at most 1; 0.8 is usual"),
        ("depth_gamma", 1.5, "depth_gamma (1.5) must be above 0 and at most 1; 0.8 is usual"),
        ("margin", -1.0, "margin (-1.0) must be at least 0; 0 switches it off"),
    ],
)
def test_weights_out_of_range_are_refused(field: str, value: float, said: str) -> None:
    with pytest.raises(InputError) as error:
        LossConfig(**{field: value})
    assert str(error.value) == said
