from __future__ import annotations

from typing import Any

import pytest

from promotion.scenes import SceneConfig
from tokenseek_common import InputError


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"height": 15}, "height (15) must be at least 16; choose a larger height"),
        ({"width": 0}, "width (0) must be at least 16; choose a larger width"),
        (
            {"objects": (4, 3)},
            "objects (4, 3) must be two numbers, the first from 0 to the second; "
            "choose other objects",
        ),
        ({"motion": 0.0}, "motion (0) must be above 0 and at most 0.3; choose another motion"),
        ({"motion": 0.4}, "motion (0.4) must be above 0 and at most 0.3; choose another motion"),
        ({"photos": 1.5}, "photos (1.5) must be from 0 to 1; choose another photos"),
        ({"clutter": -0.1}, "clutter (-0.1) must be from 0 to 1; choose another clutter"),
        (
            {"rigid": 0.6, "stereo": 0.5},
            "rigid + stereo (1.1) must be at most 1, since they are shares of the same scenes; "
            "lower one of them",
        ),
        (
            {"still": 0.7, "slow": 0.4},
            "still + slow (1.1) must be at most 1, since they are shares of the same scenes; "
            "lower one of them",
        ),
        ({"fast": 1.1}, "fast (1.1) must be from 0 to 1; choose another fast"),
        ({"noise": 0.6}, "noise (0.6) must be from 0 to 0.5; choose another noise"),
        ({"gamma": -1.0}, "gamma (-1) must be from 0 to 0.5; choose another gamma"),
    ],
)
def test_field_out_of_its_range_is_refused(options: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError) as caught:
        SceneConfig(**options)
    assert str(caught.value) == told
