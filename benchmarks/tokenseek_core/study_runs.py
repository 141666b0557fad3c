"""One run of the study: train, and look at the held-out loss at given steps."""

from __future__ import annotations

import math
from collections.abc import Collection

import torch
from study_tasks import Batch, Task
from transformers import PreTrainedModel

from tokenseek_core import TokenSeekConfig
from tokenseek_core.inspect import Method, using

WARM_UP = 5
CLIP = 1.0


def train(
    task: Task, method: Method, *, rate: float, seed: int, stops: Collection[int], dev: bool = False
) -> dict[int, float]:
    """Train until the last of `stops`, and give the held-out loss at each of them."""
    model = task.model().train()
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)  # random selection
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.0, fused=True)
    losses = {}
    with using(model, method, check=False):
        for step in range(1, max(stops) + 1):
            for group in optimizer.param_groups:
                group["lr"] = rate * min(1.0, step / WARM_UP)
            model(**task.batch(generator), use_cache=False).loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
            optimizer.step()
            optimizer.zero_grad()
            if step in stops:
                losses[step] = held_out_loss(model, task.dev if dev else task.test)
    return losses


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


def gradient(
    model: PreTrainedModel, batch: Batch, config: TokenSeekConfig | None
) -> list[torch.Tensor]:
    """The gradient of one step, a vector for each parameter."""
    with using(model, Method("one step", config), check=False):
        model(**batch, use_cache=False).loss.backward()
    found = [
        torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten().clone()
        for p in model.parameters()
    ]
    model.zero_grad(set_to_none=True)
    return found


def cosine(ours: list[torch.Tensor], dense: list[torch.Tensor], chosen: list[int]) -> float:
    """Cosine of two gradients over the chosen parameters."""
    product = sum(float(ours[i] @ dense[i]) for i in chosen)
    ours_norm, dense_norm = (
        math.sqrt(sum(float(g[i] @ g[i]) for i in chosen)) for g in (ours, dense)
    )
    return product / max(ours_norm * dense_norm, 1e-30)
