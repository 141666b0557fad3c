from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from tokenseek_common import InputError
from tokenseek_core import TokenSeekConfig


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"ratio": 0.0}, "ratio (0.0) must be in (0, 1]; 0.1 keeps one token in ten"),
        ({"ratio": 1.5}, "ratio (1.5) must be in (0, 1]; 0.1 keeps one token in ten"),
        ({"ratio": float("nan")}, "ratio (nan) must be in (0, 1]; 0.1 keeps one token in ten"),
        (
            {"selector": "magic"},
            "selector (magic) must be one of tokenseek, random or a callable; "
            "a callable takes Signals and returns scores of shape [b, s]",
        ),
        ({"gradient": "exact"}, "gradient (exact) must be restart; leave it out"),
        (
            {"alpha": 0.0, "beta": 0.0},
            "alpha, beta (0.0, 0.0) must be at least 0 and not both 0; "
            "only their quotient changes which tokens are kept",
        ),
        ({"min_supervised": -1}, "min_supervised (-1) must be at least 0; 0 forces none"),
        (
            {"dense_above": 0.0},
            "dense_above (0.0) must be in (0, 1] or None; None never trains densely",
        ),
    ],
)
def test_values_out_of_range_are_refused_with_a_sentence(
    settings: dict[str, Any], text: str
) -> None:
    with pytest.raises(InputError) as error:
        TokenSeekConfig(**settings)
    assert str(error.value) == text


def test_the_published_setting_is_a_tenth_with_equal_weights() -> None:
    paper = TokenSeekConfig.paper()
    assert (paper.ratio, paper.selector, paper.gradient) == (0.1, "tokenseek", "restart")
    assert (paper.alpha, paper.beta) == (1.0, 1.0)


def test_a_config_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        TokenSeekConfig().ratio = 0.5  # type: ignore[misc]
