"""Running average of the weights; torch's own copies the module, which sharded modules refuse."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor


class WeightAverage:
    """``average <- decay average + (1 - decay) weight``, after each step, from the first weights.

    The decay rises to its value, ``min(decay, (1 + step) / (10 + step))``, so that early steps are
    forgotten in short trainings too.

    Args:
        model: Whose parameters are averaged; buffers are taken as they are.
        decay: Of the average.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model, self.decay, self.steps = model, decay, 0
        self.averages = {name: p.detach().clone() for name, p in model.named_parameters()}

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights after a step."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        for name, parameter in self.model.named_parameters():
            self.averages[name].lerp_(parameter, 1 - decay)

    def weights(self) -> dict[str, Tensor]:
        """The averages and the buffers, whole on every process."""
        return {name: _whole(value) for name, value in self.model.state_dict().items()} | {
            name: _whole(value) for name, value in self.averages.items()
        }

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"steps": self.steps, "averages": self.averages}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.steps = state["steps"]
        for name, value in state["averages"].items():
            self.averages[name].copy_(value)


def _whole(value: Tensor) -> Tensor:
    return (value.full_tensor() if isinstance(value, DTensor) else value).detach().clone()
