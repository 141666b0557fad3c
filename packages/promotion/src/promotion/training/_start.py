"""What a training starts with: a model and its optimizer, fit for the processes that hold them."""

from __future__ import annotations

import torch

from promotion._model import BOTH, ProMotion
from promotion.training._config import PartName, StageConfig, TrainingConfig
from tokenseek_common.tuning import parameter_groups


def start_model(config: TrainingConfig) -> ProMotion:
    """A new model, or the one whose weights are to be trained on."""
    if config.start is None:
        return ProMotion(config.model)
    return ProMotion.from_pretrained(config.start, config=config.model)


def start_optimizer(model: ProMotion, config: TrainingConfig) -> torch.optim.AdamW:
    """AdamW, for what comes before the decoders and, after it, for each of them."""
    groups = parameter_groups(
        model,
        learning_rate=1.0,  # the schedule's factors are the rates
        weight_decay=config.weight_decay,
        learning_rates={"flow.*": 1.0, "depth.*": 1.0},
        no_decay=(),  # as networks for optical flow are trained
    )
    return torch.optim.AdamW(groups)


def patterns_of(model: ProMotion, part: PartName) -> list[str]:
    """Patterns of a part's parameters."""
    names = ("encoder", "denoiser", "learner") if part == "features" else (part,)
    return [f"{name}.*" for name in names if getattr(model, name) is not None]


def unused_in(stage: StageConfig, config: TrainingConfig) -> list[str]:
    """Patterns of what has no part in a stage's losses: it has no gradient."""
    unused = [f"{task}.*" for task in BOTH if task not in stage.tasks]
    if stage.tasks == ("depth",):
        unused.append("depth.motion.*")  # which reads the flow
    if config.model.prototypes > 0 and config.model.em_steps == 0:
        unused.append("learner.value.*")  # what EM reads of tokens
    return unused


def leaves_unused(config: TrainingConfig) -> bool:
    """Whether a step may give some of the parameters no gradient, which DDP has to be told."""
    return any(stage.frozen or unused_in(stage, config) for stage in config.stages)


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
