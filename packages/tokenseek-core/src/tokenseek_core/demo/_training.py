"""The demo's fine-tuning: the same weights and batches, trained in one way after another."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from tokenseek_common import RunError
from tokenseek_common.cli import Progress
from tokenseek_common.data import IGNORE_INDEX
from tokenseek_core.demo._material import Batch
from tokenseek_core.inspect import Method, using

LEARNING_RATE = 5e-5
CLIP = 1.0  # the norm that gradients are clipped to; those of a few tokens are larger
REPEATS = 2  # timed single steps of each method; the shortest counts
QUARTERS = 4  # how often the held-out loss is looked at


@dataclass(frozen=True)
class Point:
    """The held-out loss at one moment of a training.

    Args:
        step: Steps done.
        seconds: Spent on them; testing is not counted.
        cpu_seconds: Processor time of them, over all threads.
        loss: Mean over the held-out tokens, in nats.
    """

    step: int
    seconds: float
    cpu_seconds: float
    loss: float


@dataclass(frozen=True)
class Training:
    """One fine-tuning.

    Args:
        method: The method's name.
        curve: Held-out losses, from before the first step to after the last.
        step_losses: What each step minimised; TokenSeek's is over the kept tokens only.
    """

    method: str
    curve: tuple[Point, ...]
    step_losses: tuple[float, ...]

    @property
    def before(self) -> Point:
        """Before the first step."""
        return self.curve[0]

    @property
    def after(self) -> Point:
        """After the last step."""
        return self.curve[-1]


class Weights:
    """A copy of a model's trainable parameters, to start from again."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        # On the host, where they stand in no accelerator's way.
        self._copies = {
            name: parameter.detach().to("cpu", copy=True)
            for name, parameter in model.named_parameters()
            if parameter.requires_grad
        }

    @torch.no_grad()
    def restore(self) -> None:
        """Set the model back."""
        for name, parameter in self._model.named_parameters():
            if name in self._copies:
                parameter.copy_(self._copies[name])


@torch.no_grad()
def held_out_loss(model: PreTrainedModel, batches: Sequence[Batch]) -> float:
    """Mean loss of all supervised tokens, through the model as it is in evaluation mode.

    Raises:
        RunError: The loss is not finite.
    """
    was_training = model.training
    model.eval()
    total, count = 0.0, 0
    for batch in batches:
        supervised = int((batch["labels"][:, 1:] != IGNORE_INDEX).sum())
        total += _loss(model, batch).item() * supervised
        count += supervised
    model.train(was_training)
    if not math.isfinite(total):
        raise RunError(
            f"held-out loss ({total}) must be finite; choose --dtype float32 or another --model"
        )
    return total / count


def fine_tune(
    model: PreTrainedModel,
    method: Method,
    batches: Sequence[Batch],
    held_out: Sequence[Batch],
    *,
    before: float,
    seed: int,
    progress: Progress,
    learning_rate: float | None = None,
    looks: int = QUARTERS,
) -> Training:
    """Train what requires it, one step a batch.

    Args:
        model: The model at its starting weights.
        method: How its steps are run.
        batches: What to train on, in this order.
        held_out: What to test on, a few times on the way.
        before: The held-out loss of the starting weights.
        seed: Of whatever is random in a step.
        progress: Advanced with each step.
        learning_rate: Of AdamW; None takes that of a full fine-tuning.
        looks: How often the held-out loss is looked at.

    Returns:
        The losses.

    Raises:
        RunError: A loss is not finite.
    """
    torch.manual_seed(seed)
    model.train()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    rate = LEARNING_RATE if learning_rate is None else learning_rate
    optimizer = torch.optim.AdamW(trained, lr=rate, weight_decay=0.0, fused=True)
    looked_at = {math.ceil(len(batches) * part / looks) for part in range(1, looks + 1)}
    curve, step_losses = [Point(0, 0.0, 0.0, before)], []
    seconds = cpu_seconds = 0.0

    with using(model, method, check=False):  # checked already, when single steps were measured
        for step, batch in enumerate(batches, start=1):
            begin, cpu_begin = time.perf_counter(), time.process_time()
            loss = _loss(model, batch)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(trained, CLIP)
            optimizer.step()
            optimizer.zero_grad()
            step_losses.append(loss.item())  # an accelerator is waited for here
            seconds += time.perf_counter() - begin
            cpu_seconds += time.process_time() - cpu_begin

            if not math.isfinite(step_losses[-1]):
                raise RunError(
                    f"loss ({step_losses[-1]}) must be finite, but was not at step {step} of "
                    f"{method.name}; choose --dtype float32 or another --model"
                )
            if step in looked_at:
                curve.append(Point(step, seconds, cpu_seconds, held_out_loss(model, held_out)))
            progress.advance(loss=step_losses[-1])
    return Training(method.name, tuple(curve), tuple(step_losses))


def _loss(model: PreTrainedModel, batch: Mapping[str, Tensor]) -> Tensor:
    on_device = {name: tensor.to(model.device) for name, tensor in batch.items()}
    loss: Tensor = model(**on_device, use_cache=False).loss
    return loss
