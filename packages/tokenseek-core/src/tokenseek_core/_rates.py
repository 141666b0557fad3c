"""Learning rates for what a step knows exactly, and for what it knows from the kept rows alone."""

from __future__ import annotations

from typing import Any

from tokenseek_common import InputError
from tokenseek_common.tuning import parameter_groups
from tokenseek_core._anatomy import Anatomy
from tokenseek_core._config import TokenSeekConfig


def rate_groups(
    anatomy: Anatomy,
    config: TokenSeekConfig,
    *,
    learning_rate: float,
    replayed: float,
    weight_decay: float,
) -> list[dict[str, Any]]:
    """Split the groups of :func:`tokenseek_common.tuning.parameter_groups` by rate.

    Args:
        anatomy: The model's parts.
        config: The settings.
        learning_rate: Of everything but the replayed blocks.
        replayed: Share of it that the replayed blocks learn at.
        weight_decay: Of what decays.

    Raises:
        InputError: Nothing is exact, `replayed` is not in (0, 1], or nothing is trained.
    """
    if config.gradient != "inject":
        raise InputError(
            f"gradient ({config.gradient}) must be inject, which keeps some blocks exact; "
            "give the optimizer model.parameters()"
        )
    if not 0 < replayed <= 1:
        raise InputError(
            f"replayed ({replayed}) must be in (0, 1]; 0.25 gives replayed blocks a quarter of the "
            "rate"
        )
    blocks = list(anatomy.blocks)[: -config.exact_blocks]
    below = {id(parameter) for block in blocks for parameter in block.parameters()}
    groups = []
    for group in parameter_groups(
        anatomy.outer, learning_rate=learning_rate, weight_decay=weight_decay
    ):
        for rate, is_replayed in ((learning_rate, False), (replayed * learning_rate, True)):
            members = [p for p in group["params"] if (id(p) in below) == is_replayed]
            if members:
                groups.append({**group, "params": members, "lr": rate})
    return groups
