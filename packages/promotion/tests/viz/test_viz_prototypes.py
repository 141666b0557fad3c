from __future__ import annotations

import pytest
import torch
from kornia.color import rgb_to_lab

from promotion.viz import prototype_overlay
from promotion.viz._colours import distinct_colours
from tokenseek_common import InputError


def test_each_token_colours_its_share_of_the_image() -> None:
    assignment = torch.tensor([[0, 1, 2], [3, 4, 5]])
    overlay = prototype_overlay(assignment, torch.rand(3, 16, 24), opacity=1.0)
    blocks = distinct_colours(6).view(3, 2, 3).repeat_interleave(8, 1).repeat_interleave(8, 2)
    assert overlay.dtype is torch.uint8
    assert torch.equal(overlay, blocks)


def test_without_opacity_the_grey_image_is_left() -> None:
    image = torch.tensor([0.2, 0.6, 0.4])[:, None, None].expand(3, 4, 4)
    overlay = prototype_overlay(torch.zeros(2, 2, dtype=torch.long), image, opacity=0.0)
    grey = round(255 * (0.299 * 0.2 + 0.587 * 0.6 + 0.114 * 0.4))
    assert (overlay == grey).all()


def test_opacity_mixes_image_and_colours() -> None:
    overlay = prototype_overlay(torch.tensor([[1]]), torch.ones(3, 1, 1), opacity=0.25)
    expected = (0.25 * distinct_colours(2)[:, 1] + 0.75 * 255).round()
    assert overlay.flatten().tolist() == expected.tolist()


def test_a_prototype_has_the_same_colour_in_every_picture() -> None:
    assert torch.equal(distinct_colours(100)[:, :7], distinct_colours(7))


def test_colours_of_a_hundred_prototypes_differ_to_the_eye() -> None:
    colours = distinct_colours(100) / 255
    lab = rgb_to_lab(colours[:, None])[:, 0].T
    apart = torch.pdist(lab).min()
    assert apart > 15  # the eye sees a distance of 2.3
    assert (colours.amax(0) - colours.amin(0) > 0).all()  # none is grey


def test_indices_of_any_integer_type_are_read() -> None:
    image = torch.rand(3, 4, 4)
    pictures = [
        prototype_overlay(torch.tensor([[0, 200]]).to(dtype), image)
        for dtype in (torch.uint8, torch.int32, torch.int64)
    ]
    assert torch.equal(pictures[0], pictures[1])
    assert torch.equal(pictures[0], pictures[2])


def test_a_negative_index_is_refused() -> None:
    with pytest.raises(InputError) as refused:
        prototype_overlay(torch.tensor([[0, -1]]), torch.rand(3, 4, 4))
    assert str(refused.value) == (
        "assignment (-1) must hold indices from 0; give each token's prototype"
    )


@pytest.mark.parametrize("opacity", [-0.1, 1.5])
def test_opacity_beyond_its_range_is_refused(opacity: float) -> None:
    with pytest.raises(InputError) as refused:
        prototype_overlay(torch.tensor([[0]]), torch.rand(3, 4, 4), opacity=opacity)
    assert str(refused.value) == (
        f"opacity ({opacity:g}) must be from 0 to 1; 0.6 shows image and colours"
    )
