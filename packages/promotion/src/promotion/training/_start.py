"""What a training starts with: a model and its optimizer, fit for the processes that hold them."""

from __future__ import annotations

import torch

from promotion._model import BOTH, ProMotion
from promotion.training._config import TrainingConfig


def start_model(config: TrainingConfig) -> ProMotion:
    """A new model, or the one whose weights are to be trained on."""
    if config.start is None:
        return ProMotion(config.model)
    return ProMotion.from_pretrained(config.start, config=config.model)


def start_optimizer(model: ProMotion, config: TrainingConfig) -> torch.optim.AdamW:
    """AdamW, for what comes before the decoders and, after it, for the decoders."""
    early = [model.encoder, model.denoiser, model.learner]
    groups = [parameters_of(*early), parameters_of(model.flow, model.depth)]
    return torch.optim.AdamW(
        [{"params": group} for group in groups], lr=1.0, weight_decay=config.weight_decay
    )


def parameters_of(*parts: torch.nn.Module | None) -> list[torch.nn.Parameter]:
    """The parameters of the parts that are there."""
    return [parameter for part in parts if part is not None for parameter in part.parameters()]


def leaves_unused(config: TrainingConfig) -> bool:
    """Whether a step may give some of the parameters no gradient, which DDP has to be told."""
    idle = config.model.prototypes > 0 and config.model.em_steps == 0  # what EM reads of tokens
    return idle or any(stage.frozen or set(stage.tasks) != set(BOTH) for stage in config.stages)


def widen_scalars(model: torch.nn.Module) -> None:
    """Make vectors of one of the scalars among the parameters, which torch refuses to shard."""
    for parameter in model.parameters():
        if parameter.ndim == 0:
            parameter.data = parameter.data[None]


def begin_moments(optimizer: torch.optim.Optimizer) -> None:
    """Begin AdamW's moments as its first step would: a sharded checkpoint has none missing."""
    for parameter in (each for group in optimizer.param_groups for each in group["params"]):
        optimizer.state[parameter] = {
            "step": torch.tensor(0.0),
            "exp_avg": torch.zeros_like(parameter),
            "exp_avg_sq": torch.zeros_like(parameter),
        }
