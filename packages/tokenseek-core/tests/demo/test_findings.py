from __future__ import annotations

from typing import Any

import pytest

from tokenseek_core.demo._findings import findings, same_losses
from tokenseek_core.demo._training import Point, Training


def training(method: str, losses: list[float], seconds_each: float = 1.0) -> Training:
    points = [
        Point(step, step * seconds_each, step * seconds_each, loss)
        for step, loss in enumerate(losses)
    ]
    return Training(method, tuple(points), ())


class Result:
    """The one part of a result that the findings are drawn from."""

    def __init__(self, *trainings: Training) -> None:
        self.trainings = trainings


def found(dense: list[float], seek: list[float], speed: float) -> list[str]:
    result: Any = Result(training("dense", dense, 10), training("TokenSeek", seek, 10 * speed))
    return findings(result)


def test_dense_training_is_said_to_be_ahead_where_it_is() -> None:
    assert found([3.0, 2.0, 1.0], [3.0, 2.5, 2.0], speed=0.5) == [
        "The held-out loss fell with every method, from 3.000.",
        "After 2 steps it stood at 1.000 with dense training and at 2.000 with TokenSeek: at equal "
        "steps dense training is ahead by 1.000.",
        "TokenSeek's steps took 10 s; in that time dense training, whose steps took 20 s, had come "
        "to about 2.000 (between two measured points).",
    ]


def test_tokenseek_is_said_to_be_ahead_only_where_it_is() -> None:
    assert found([3.0, 2.0], [3.0, 1.5], speed=0.5)[1].endswith("TokenSeek is ahead by 0.500.")
    assert found([3.0, 2.0], [3.0, 1.999], speed=0.5)[1].endswith("equal at equal steps.")


def test_a_slower_tokenseek_is_not_compared_at_equal_time() -> None:
    assert found([3.0, 2.0], [3.0, 2.5], speed=2)[2] == (
        "TokenSeek's steps took 20 s, the dense ones 10 s."
    )


def test_a_loss_that_did_not_fall_is_told() -> None:
    assert found([3.0, 2.0], [3.0, 3.5], speed=1)[0] == (
        "The held-out loss did not fall with TokenSeek."
    )


@pytest.mark.parametrize(("other", "said"), [(2.0, "are equal"), (2.00012, "at most 0.0001")])
def test_checkpointing_is_compared_with_dense_training(other: float, said: str) -> None:
    assert said in same_losses(
        training("dense", [3.0, 2.0]), training("checkpointing", [3.0, other])
    )
