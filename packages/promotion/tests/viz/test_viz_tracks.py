from __future__ import annotations

import pytest
import torch

from promotion.viz import track_overlay
from tokenseek_common import InputError


def test_tails_and_dots_are_drawn_of_what_is_seen() -> None:
    image = torch.zeros(3, 40, 60)
    positions = torch.tensor([[[5.0, 10], [5, 30]], [[50, 10], [50, 30]]])
    drawn = track_overlay(image, positions, torch.tensor([[True, True], [True, False]]))
    assert drawn[:, 10, 30].tolist() == [255, 25, 25]  # the first hue
    assert drawn[:, 10, 50].tolist() == [255, 25, 25]
    assert not drawn[:, 20:].any()
    one = track_overlay(image, positions[:1], torch.tensor([[False, True]]))
    assert one[:, 30, 5].tolist() == [25, 255, 255]
    assert one.any(0).sum() < 12


def test_tracks_of_other_points_are_refused() -> None:
    with pytest.raises(InputError) as caught:
        track_overlay(torch.zeros(3, 40, 60), torch.zeros(2, 3, 2), torch.zeros(2, 2).bool())
    assert str(caught.value) == (
        "visible ((2, 2)) must be (2, 3), one for each of positions; take both from one Tracks"
    )
