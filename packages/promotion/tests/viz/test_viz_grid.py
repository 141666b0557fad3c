from __future__ import annotations

import pytest
import torch
from torch import Tensor

from promotion.viz import grid
from tokenseek_common import InputError

# Letters are 12 px high beside small pictures: 24 px for a label, 6 px around a picture.
HEAD, MARGIN = 24, 6


def plain(height: int, width: int, colour: tuple[int, int, int]) -> Tensor:
    return torch.tensor(colour, dtype=torch.uint8)[:, None, None].expand(3, height, width)


def test_pictures_stand_whole_in_rows_below_their_labels() -> None:
    red, green, blue = (plain(20, 40, c) for c in ((255, 0, 0), (0, 255, 0), (0, 0, 255)))
    sheet = grid([red, green, blue], ["a", "b", "c"])

    row, column = HEAD + 20 + MARGIN, MARGIN + 40 + MARGIN
    assert sheet.dtype is torch.uint8
    assert sheet.shape == (3, 2 * row, 2 * column)
    places = {(0, 0): red, (0, 1): green, (1, 0): blue}
    for (i, j), picture in places.items():
        top, left = i * row + HEAD, j * column + MARGIN
        assert torch.equal(sheet[:, top : top + 20, left : left + 40], picture)
    assert (sheet[:, row:, column:] == 255).all()  # the place that is left


def test_columns_are_as_wide_and_rows_as_high_as_they_need() -> None:
    small, wide, high = plain(10, 10, (9, 9, 9)), plain(10, 60, (8, 8, 8)), plain(50, 10, (7, 7, 7))
    sheet = grid([small, wide, high, small], ["", "", "", ""], columns=2)
    assert sheet.shape[1] == (HEAD + 10 + MARGIN) + (HEAD + 50 + MARGIN)
    assert sheet.shape[2] == (MARGIN + 10 + MARGIN) + (MARGIN + 60 + MARGIN)
    for colour, area in ((8, 600), (7, 500), (9, 200)):
        assert (sheet == colour).all(0).sum() == area


def test_no_more_columns_are_made_than_there_are_pictures() -> None:
    picture = plain(20, 40, (1, 2, 3))
    assert torch.equal(grid([picture], ["a"], columns=5), grid([picture], ["a"]))


def test_a_long_label_makes_its_column_wider_and_is_not_cut_off() -> None:
    sheet = grid([plain(20, 40, (0, 0, 0))], ["a label much longer than its picture is wide"])
    head = sheet[:, :HEAD]
    written = (head < 128).all(0).any(0).nonzero()
    assert written.max() > 200
    assert (sheet[:, :, -1] == 255).all()
    assert (head[:, 0] == 255).all()


def test_labels_are_written() -> None:
    picture = plain(20, 40, (1, 2, 3))
    assert not torch.equal(grid([picture], ["a"]), grid([picture], ["b"]))
    assert (grid([picture], [""])[:, :HEAD] == 255).all()


@pytest.mark.parametrize(("pictures", "labels"), [(0, 0), (2, 1), (1, 2)])
def test_every_picture_needs_its_label(pictures: int, labels: int) -> None:
    with pytest.raises(InputError) as refused:
        grid([plain(2, 2, (0, 0, 0))] * pictures, ["a"] * labels)
    assert str(refused.value) == (
        f"labels ({labels} for {pictures} pictures) must be one for each of at least one "
        'picture; give "" where there is nothing to say'
    )


def test_a_sheet_without_columns_is_refused() -> None:
    with pytest.raises(InputError) as refused:
        grid([plain(2, 2, (0, 0, 0))], ["a"], columns=0)
    assert str(refused.value) == "columns (0) must be at least 1; leave it out to have it chosen"
