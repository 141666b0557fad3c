from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from promotion.viz import warp_overlay
from real_data import DATA, needs
from tokenseek_common import InputError

CHAIRS = DATA / "motion" / "flyingchairs"
GREY, MAGENTA = [128, 128, 128], [255, 0, 255]


def to_picture(image: Tensor) -> Tensor:
    return (image * 255).round().to(torch.uint8)


def constant(u: float, v: float, height: int, width: int) -> Tensor:
    return torch.tensor([u, v])[:, None, None].expand(2, height, width).contiguous()


def test_no_motion_between_equal_frames_gives_the_frame() -> None:
    image = torch.rand(3, 7, 5)
    assert torch.equal(warp_overlay(image, image, torch.zeros(2, 7, 5)), to_picture(image))


def test_a_shifted_frame_is_brought_back_and_what_left_is_magenta() -> None:
    image1 = torch.rand(3, 6, 8)
    image2 = image1.roll((2, 3), dims=(1, 2))  # down by 2, right by 3
    overlay = warp_overlay(image1, image2, constant(3.0, 2.0, 6, 8))
    assert torch.equal(overlay[:, :4, :5], to_picture(image1)[:, :4, :5])
    left = torch.cat([overlay[:, 4:].flatten(1), overlay[:, :4, 5:].flatten(1)], 1)
    assert left.T.unique(dim=0).tolist() == [MAGENTA]


def test_fractions_of_a_pixel_interpolate_and_the_two_frames_weigh_alike() -> None:
    image2 = torch.tensor([0.0, 0.4, 0.8]).expand(3, 1, 3)
    overlay = warp_overlay(torch.ones(3, 1, 3), image2, constant(0.5, 0.0, 1, 3))
    # (1 + 0.2) / 2 and (1 + 0.6) / 2
    assert overlay[:, 0].T.tolist() == [[153] * 3, [204] * 3, MAGENTA]


def test_the_last_row_and_column_belong_to_the_frame() -> None:
    image = torch.rand(3, 3, 3)
    flow = torch.zeros(2, 3, 3)
    flow[:, 0, 0] = 2.0
    expected = to_picture((image[:, 0, 0] + image[:, 2, 2]) / 2)
    assert warp_overlay(image, image, flow)[:, 0, 0].tolist() == expected.tolist()


@pytest.mark.parametrize("vector", [(-0.1, 0.0), (0.0, -0.1), (1.1, 0.0), (0.0, 1.1)])
def test_motion_over_each_edge_leaves_the_frame(vector: tuple[float, float]) -> None:
    image = torch.rand(3, 2, 2)
    flow = torch.zeros(2, 2, 2)
    flow[:, 0, 0] = torch.tensor(vector)
    assert warp_overlay(image, image, flow)[:, 0, 0].tolist() == MAGENTA


def test_unknown_motion_is_grey() -> None:
    flow = constant(torch.nan, 0.0, 2, 2)
    overlay = warp_overlay(
        torch.rand(3, 2, 2), torch.rand(3, 2, 2), flow, torch.zeros(2, 2, dtype=torch.bool)
    )
    assert overlay.flatten(1).T.unique(dim=0).tolist() == [GREY]


def test_known_motion_that_is_not_finite_is_refused() -> None:
    image = torch.rand(3, 2, 2)
    with pytest.raises(InputError) as refused:
        warp_overlay(image, image, constant(torch.inf, 0.0, 2, 2))
    assert str(refused.value) == (
        "flow (4 values are NaN or infinite) must be finite wherever it is known; "
        "mark the other pixels as not valid"
    )


@pytest.mark.real
@needs("motion/flyingchairs")
def test_true_motion_of_a_real_pair_brings_the_second_frame_back() -> None:
    image1, image2 = (
        torch.from_numpy(np.array(Image.open(CHAIRS / f"0000002-img{k}.png"))).permute(2, 0, 1)
        / 255
        for k in (0, 1)
    )
    # after the tag and the size, u and v of each pixel in turn
    numbers = np.fromfile(CHAIRS / "0000002-gt.flo", dtype="<f4")[3:].reshape(*image1.shape[1:], 2)
    flow = torch.from_numpy(numbers).permute(2, 0, 1).contiguous()

    def distance(overlay: Tensor) -> float:
        """How far the overlay is from the first frame, where the motion stays in the frame."""
        inside = (overlay != torch.tensor(MAGENTA)[:, None, None]).any(0)
        return (overlay.float() - 255 * image1)[:, inside].abs().mean().item()

    warped = distance(warp_overlay(image1, image2, flow))
    unwarped = distance(warp_overlay(image1, image2, torch.zeros_like(flow)))
    assert warped < 0.5 * unwarped  # occluded pixels remain
