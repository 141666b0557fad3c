from __future__ import annotations

import dataclasses
from typing import Any, get_args

import pytest

from tokenseek_common import InputError
from tokenseek_core import TokenSeekConfig
from tokenseek_core._config import SelectorName
from tokenseek_core._selectors import NAMED


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"ratio": 0.0}, "ratio (0.0) must be in (0, 1]; 0.1 keeps one token in ten"),
        ({"ratio": 1.5}, "ratio (1.5) must be in (0, 1]; 0.1 keeps one token in ten"),
        ({"ratio": float("nan")}, "ratio (nan) must be in (0, 1]; 0.1 keeps one token in ten"),
        (
            {"answer_ratio": 0.0},
            "answer_ratio (0.0) must be in (0, 1] or None; "
            "1 keeps every token that carries the loss",
        ),
        (
            {"selector": "magic"},
            "selector (magic) must be one of tokenseek, random, context, gradient, loss, quota, "
            "saliency, product, sampled or a callable; "
            "a callable takes Signals and returns scores of shape [b, s]",
        ),
        (
            {"gradient": "exact"},
            "gradient (exact) must be restart or inject; restart is the paper's",
        ),
        ({"exact_blocks": 0}, "exact_blocks (0) must be at least 1; 1 costs the least"),
        (
            {"context_share": 1.5},
            "context_share (1.5) must be in [0, 1]; "
            "0.2 gives a fifth of the budget to the context score",
        ),
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


def test_every_named_selector_can_score() -> None:
    assert NAMED.keys() | {"random", "sampled"} == set(get_args(SelectorName))


def test_a_config_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        TokenSeekConfig().ratio = 0.5  # type: ignore[misc]
