from __future__ import annotations

import math

import torch

from promotion._agreement import (
    NEIGHBOURHOOD,
    averaged,
    consistency,
    or_no_motion,
    visibility_of_motion,
)


def test_flow_and_its_way_back_agree_where_they_undo_each_other() -> None:
    flow = torch.zeros(2, 6, 8)
    flow[0] = 2.0
    back = -flow
    back[0, :, 4] = 1.0  # where x = 2 lands
    confidence = consistency(flow, back)
    tolerated = 0.01 * (4 + 1) + 0.5
    expected = torch.tensor([1, 1, math.exp(-9 / tolerated), 1, 1, 1, 0, 0]).expand(6, 8)
    torch.testing.assert_close(confidence, expected)


def test_means_are_of_what_lies_in_the_picture() -> None:
    values = torch.rand(70, 90, generator=torch.Generator().manual_seed(0))
    found = averaged(values)
    for y, x in ((0, 0), (35, 45), (69, 89), (10, 80)):
        rows = slice(max(0, y - NEIGHBOURHOOD), y + NEIGHBOURHOOD + 1)
        columns = slice(max(0, x - NEIGHBOURHOOD), x + NEIGHBOURHOOD + 1)
        torch.testing.assert_close(found[y, x], values[rows, columns].mean())


def test_nothing_can_be_told_where_there_is_no_texture() -> None:
    picture = torch.full((3, 40, 200), 0.5)
    picture[:, :, 150:] = torch.rand(3, 40, 50, generator=torch.Generator().manual_seed(0))
    told = visibility_of_motion(picture)
    assert told[:, :100].max() < 1e-3
    assert told[:, 150:].min() > 0.9


def test_flow_is_zero_where_pictures_are_the_same_and_stays_where_it_explains_more() -> None:
    picture = torch.rand(3, 64, 96, generator=torch.Generator().manual_seed(0))
    wrong = torch.full((2, 64, 96), 3.0)
    assert (or_no_motion(picture, picture, wrong) == 0).all()
    blank = torch.full((3, 64, 96), 0.3)
    assert (or_no_motion(blank, 0.9 * blank, 9 * wrong) == 0).all()  # out of the picture too
    right = torch.zeros(2, 64, 96)
    right[0] = 3
    assert torch.equal(or_no_motion(picture, picture.roll(3, 2), right), right)
