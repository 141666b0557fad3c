"""Injected adjoints the slow, obvious way, apart from the package: two dense passes.

The first is cut at the input z of the exact blocks: what comes after gets its dense gradient, and z
gets G. The second sees keys and values of unselected tokens as constants, and goes down from
sum_{t in S} w_t <G_t, z_t>, w the importance of sampled tokens, else 1.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel

from slow_reference import slow_attention


def first_exact_block(model: PreTrainedModel, exact_blocks: int) -> nn.Module:
    depth = model.config.num_hidden_layers
    (blocks,) = [m for m in model.modules() if isinstance(m, nn.ModuleList) and len(m) == depth]
    return blocks[-exact_blocks]


def slow_inject(
    model: PreTrainedModel,
    batch: dict[str, Tensor],
    keep: Tensor,
    *,
    num_items: int | None = None,
    exact_blocks: int = 1,
    importance: Tensor | None = None,
) -> Tensor:
    """Leave the gradients in `.grad`, and return the dense loss."""
    block = first_exact_block(model, exact_blocks)
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    targets = F.pad(batch["labels"][:, 1:], (0, 1), value=-100)
    total = num_items or int((targets != -100).sum())
    cut: list[Tensor] = []
    whole: list[Tensor] = []

    def cut_here(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        cut.append(args[0].detach().requires_grad_())
        return (cut[0], *args[1:])

    def look(module: nn.Module, args: tuple[Any, ...]) -> None:
        whole.append(args[0])

    hook = block.register_forward_pre_hook(cut_here)
    logits = model(**inputs, use_cache=False).logits
    hook.remove()
    loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum") / total
    loss.backward()
    adjoint = cut[0].grad
    assert adjoint is not None

    hook = block.register_forward_pre_hook(look)
    with slow_attention(model, keep):
        model(**inputs, use_cache=False)
    hook.remove()
    weights = torch.ones_like(targets) if importance is None else importance
    (weights[keep][:, None] * adjoint[keep] * whole[0][keep]).sum().backward()
    return loss.detach()
