"""One run of a study: train, and look at the held-out loss at given steps."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from study_tasks import Batch, Task
from torch import Tensor
from transformers import PreTrainedModel

from tokenseek_common.tuning import parameter_groups
from tokenseek_core import TokenSeekConfig
from tokenseek_core.inspect import Method, using

WARM_UP = 5
"""Steps before a constant rate."""

DECAY_WARM_UP = 0.05
"""Share of the steps before a rate that decays."""

CLIP = 1.0


@dataclass(frozen=True)
class Run:
    """What a training came to.

    Args:
        losses: Held-out loss at each of the steps that were asked for.
        cpu_seconds: Processor time of its steps, without the looks at the held-out loss.
    """

    losses: dict[int, float]
    cpu_seconds: float


def train(
    task: Task,
    method: Method,
    *,
    rate: float,
    seed: int,
    stops: Collection[int],
    dev: bool = False,
    decay: bool = False,
    beta2: float = 0.999,
    below: float = 1.0,
    ratio: Callable[[float], float] | None = None,
) -> Run:
    """Train until the last of `stops`; the rate stays, or decays to nothing at that step.

    Args:
        task: What is trained on what.
        method: How a step runs.
        rate: Of learning.
        seed: Decides the batches, and what is drawn.
        stops: Steps after which the held-out loss is wanted.
        dev: Whether it is that of the dev set.
        decay: Whether the rate decays.
        beta2: How much AdamW's second moment keeps of what it was.
        below: Share of the rate that all blocks but the last learn at.
        ratio: Share of tokens to keep, by the share of the steps that are done.
    """
    torch.manual_seed(seed)  # of adapters
    model = task.model().train()
    held_out = task.dev if dev else task.test
    losses, spent = {}, 0.0
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)  # random selection
    optimizer = optimizer_of(model, rate, beta2, below)
    rates = [group["lr"] for group in optimizer.param_groups]
    steps = max(stops)
    with using(model, method, check=False) as handle:
        for step in range(1, steps + 1):
            if ratio is not None and handle is not None:
                handle.config = replace(handle.config, ratio=ratio((step - 1) / steps))
            batch, begin = task.batch(generator), time.process_time()
            share = factor(step - 1, steps) if decay else min(1, step / WARM_UP)
            for group, own in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = own * share
            take_step(model, batch, optimizer)
            spent += time.process_time() - begin
            if step in stops:
                losses[step] = held_out_loss(model, held_out)
    return Run(losses, spent)


def optimizer_of(
    model: Any, rate: float, beta2: float = 0.999, below: float = 1.0
) -> torch.optim.Optimizer:
    """AdamW over what is trained; all blocks but the last at the share `below` of the rate."""
    blocks = range(model.config.num_hidden_layers - 1) if below != 1 else ()
    groups = parameter_groups(
        model,
        learning_rate=rate,
        learning_rates={f"*.layers.{i}.*": below * rate for i in blocks},
        no_decay=(),
    )
    return torch.optim.AdamW(groups, betas=(0.9, beta2), weight_decay=0.0, fused=True)


def model_loss(model: Any, batch: Batch) -> Tensor:
    """The loss as the model computes it."""
    loss: Tensor = model(**batch, use_cache=False).loss
    return loss


def supervised_head_loss(model: Any, batch: Batch) -> Tensor:
    """The same, with head and loss on the rows that have a target alone."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    targets = batch["labels"][:, 1:]
    given = {name: value for name, value in batch.items() if name != "labels"}
    hidden = base.model(**given, use_cache=False).last_hidden_state[:, :-1]
    rows = targets != -100
    return F.cross_entropy(base.lm_head(hidden[rows]), targets[rows])


def take_step(
    model: Any,
    batch: Batch,
    optimizer: torch.optim.Optimizer,
    loss_of: Callable[[Any, Batch], Tensor] = model_loss,
) -> None:
    """One optimizer step."""
    loss_of(model, batch).backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
    optimizer.step()
    optimizer.zero_grad()


def factor(step: int, steps: int) -> float:
    """Of the learning rate: a short warm-up, then a cosine down to nothing."""
    warm = max(1, round(DECAY_WARM_UP * steps))
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


@torch.no_grad()
def held_out_loss(model: PreTrainedModel, batches: list[Batch]) -> float:
    """Mean loss of all supervised tokens."""
    model.eval()
    total, count = 0.0, 0
    for batch in batches:
        items = int((batch["labels"][:, 1:] != -100).sum())
        total += float(model(**batch, use_cache=False).loss) * items
        count += items
    model.train()
    return total / count


def gradient(model: PreTrainedModel, batch: Batch, config: TokenSeekConfig | None) -> list[Tensor]:
    """The gradient of one step, a vector for each parameter."""
    with using(model, Method("one step", config), check=False):
        model(**batch, use_cache=False).loss.backward()
    found = [
        torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten().clone()
        for p in model.parameters()
    ]
    model.zero_grad(set_to_none=True)
    return found


def cosine(ours: list[Tensor], dense: list[Tensor], chosen: list[int]) -> float:
    """Cosine of two gradients over the chosen parameters."""
    product = sum(float(ours[i] @ dense[i]) for i in chosen)
    ours_norm, dense_norm = (
        math.sqrt(sum(float(g[i] @ g[i]) for i in chosen)) for g in (ours, dense)
    )
    return product / max(ours_norm * dense_norm, 1e-30)
