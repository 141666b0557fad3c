from __future__ import annotations

import torch
from torch import Tensor

from promotion._variational import (
    MOTION_EDGE,
    NORM,
    RESIDUAL_EDGE,
    SMOOTHNESS,
    along,
    derivatives,
    linearised,
    refine,
)

HEIGHT, WIDTH = 6, 7


def pictures(height: int = HEIGHT, width: int = WIDTH) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    first, second = torch.rand(2, 3, height, width, generator=generator, dtype=torch.float64)
    return first, second


def energy(first: Tensor, second: Tensor, flow: Tensor, correction: Tensor) -> Tensor:
    """What the step minimises, sum by sum: robust weights and slopes as they are at `flow`."""
    slopes1, slopes1_x, slopes1_y = derivatives(first)
    slopes2, slopes2_x, slopes2_y = derivatives(second)
    total = torch.zeros((), dtype=flow.dtype)
    for y in range(HEIGHT):
        for x in range(WIDTH):
            place = x + float(flow[0, y, x]), y + float(flow[1, y, x])
            if 0 <= place[0] <= WIDTH - 1 and 0 <= place[1] <= HEIGHT - 1:
                terms, now = [], torch.zeros((), dtype=flow.dtype)
                for k in range(2):
                    there = blended(slopes2[k], *place)
                    slope_x = (blended(slopes2_x[k], *place) + slopes1_x[k, y, x]) / 2
                    slope_y = (blended(slopes2_y[k], *place) + slopes1_y[k, y, x]) / 2
                    norm = slope_x**2 + slope_y**2 + NORM**2
                    rest = there - slopes1[k, y, x]
                    moved = rest + slope_x * correction[0, y, x] + slope_y * correction[1, y, x]
                    now = now + rest**2 / norm
                    terms.append(moved**2 / norm)
                total = total + sum(terms) / (now + RESIDUAL_EDGE**2).sqrt()
            for next_y, next_x in ((y, x + 1), (y + 1, x)):
                if next_y < HEIGHT and next_x < WIDTH:
                    step = flow[:, next_y, next_x] - flow[:, y, x]
                    moved = step + correction[:, next_y, next_x] - correction[:, y, x]
                    edge = (step.square().sum() + MOTION_EDGE**2).sqrt()
                    total = total + SMOOTHNESS * moved.square().sum() / edge
    return total


def blended(values: Tensor, x: float, y: float) -> Tensor:
    column, row = min(int(x), WIDTH - 2), min(int(y), HEIGHT - 2)
    right, down = x - column, y - row
    upper = (1 - right) * values[row, column] + right * values[row, column + 1]
    lower = (1 - right) * values[row + 1, column] + right * values[row + 1, column + 1]
    return (1 - down) * upper + down * lower


def test_a_step_ends_where_the_energy_around_it_is_least() -> None:
    first, second = pictures()
    flow = torch.rand(2, HEIGHT, WIDTH, dtype=torch.float64, generator=torch.manual_seed(1))
    quadratic = linearised(derivatives(first), derivatives(second), flow)
    found = quadratic.solve(500)

    nothing = torch.zeros_like(flow).requires_grad_()
    (slope,) = torch.autograd.grad(energy(first, second, flow, nothing), nothing)
    torch.testing.assert_close(slope, -2 * quadratic.b)
    least = found.clone().requires_grad_()
    (slope,) = torch.autograd.grad(energy(first, second, flow, least), least)
    torch.testing.assert_close(slope, torch.zeros_like(slope), atol=1e-6, rtol=0)


def test_differences_are_central_and_outermost_values_go_on() -> None:
    ramp = torch.arange(5.0).square().expand(2, 3, 5)
    expected = torch.tensor([0.5, 2, 4, 6, 3.5])
    assert torch.equal(along(ramp, 2), expected.expand(2, 3, 5))
    assert torch.equal(along(ramp, 1), torch.zeros(2, 3, 5))


def test_a_small_motion_is_found_below_a_tenth_of_a_pixel() -> None:
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(1, 3, 24, 32, generator=generator)
    large = torch.nn.functional.interpolate(noise, scale_factor=4, mode="bicubic")[0].clamp(0, 1)
    first, second = large[:, 2:-2, 3:-3], 0.9 * large[:, 1:-3, 1:-5] + 0.05  # another exposure
    flow = refine(first, second, torch.zeros(2, *first.shape[1:]))
    error = (flow - torch.tensor([2.0, 1.0])[:, None, None]).norm(dim=0)
    assert error[8:-8, 8:-8].mean() < 0.1


def test_two_blank_pictures_leave_the_motion_as_it_is() -> None:
    blank = torch.full((3, 20, 24), 0.5)
    flow = torch.full((2, 20, 24), 1.5)
    assert torch.equal(refine(blank, blank, flow), flow)
