"""Learning rate of a step: a linear cycle for each stage."""

from __future__ import annotations

from promotion.training._config import TrainingConfig

WARM_UP = 0.05
"""Share of a stage in which the rate rises."""

FIRST, LAST = 1 / 25, 1e-4
"""Where a cycle begins and ends, as shares of its peak."""


def rate(config: TrainingConfig, step: int) -> float:
    """The learning rate of a step, counted from 0: up to the stage's peak and down again, linearly.

    Source:
        Smith and Topin, "Super-Convergence" (2018).
    """
    step = min(step, config.steps - 1)  # a scheduler asks for the rate after the last step too
    stage, first = config.stage_at(step)
    done = (step - first) / stage.steps
    if done < WARM_UP:
        share = FIRST + (1 - FIRST) * done / WARM_UP
    else:
        share = 1 + (LAST - 1) * (done - WARM_UP) / (1 - WARM_UP)
    return stage.learning_rate * share


def encoder_rate(config: TrainingConfig, step: int) -> float:
    """The same of what comes before the decoders."""
    stage, _ = config.stage_at(min(step, config.steps - 1))
    return stage.encoder_rate * rate(config, step)
