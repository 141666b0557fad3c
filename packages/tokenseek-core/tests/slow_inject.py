"""Injected adjoints the slow, obvious way, apart from the package: two dense passes.

The first is cut at the input z of the exact blocks: what comes after gets its dense gradient, and z
gets G. The second sees keys and values of unselected tokens as constants, and goes down from
sum_{t in S} w_t <G_t, z_t>, w the importance of sampled tokens, else 1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel

from slow_reference import shifted, slow_attention


def find_blocks(model: PreTrainedModel) -> nn.ModuleList:
    depth = getattr(model.config, "num_hidden_layers", 3)  # of a part, where there are several
    (blocks,) = [m for m in model.modules() if isinstance(m, nn.ModuleList) and len(m) == depth]
    return blocks


def slow_inject(
    model: PreTrainedModel,
    batch: dict[str, Tensor],
    keep: Tensor,
    *,
    num_items: int | None = None,
    exact_blocks: int = 1,
    importance: Tensor | None = None,
    target: Callable[[Tensor], Tensor] | None = shifted,
    attending: PreTrainedModel | None = None,
) -> Tensor:
    """Leave the gradients in `.grad`, and return the dense loss.

    `target` makes each row's target of the labels; None leaves the loss to the model. `attending`
    is the part whose tokens are selected, if it is not the model.
    """
    block = find_blocks(model)[-exact_blocks]
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    cut: list[Tensor] = []
    whole: list[Tensor] = []

    def cut_here(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        cut.append(args[0].detach().requires_grad_())
        return (cut[0], *args[1:])

    def look(module: nn.Module, args: tuple[Any, ...]) -> None:
        whole.append(args[0])

    hook = block.register_forward_pre_hook(cut_here)
    loss: Tensor
    if target is None:
        loss = model(**batch, use_cache=False).loss
    else:
        targets = target(batch["labels"]).flatten()
        total = num_items or int((targets != -100).sum())
        logits = model(**inputs, use_cache=False).logits.flatten(0, 1)
        loss = F.cross_entropy(logits, targets, reduction="sum") / total
    hook.remove()
    loss.backward()
    adjoint = cut[0].grad
    assert adjoint is not None

    hook = block.register_forward_pre_hook(look)
    with slow_attention(attending or model, keep):
        model(**inputs, use_cache=False)
    hook.remove()
    weights = torch.ones_like(keep, dtype=adjoint.dtype) if importance is None else importance
    (weights[keep][:, None] * adjoint[keep] * whole[0][keep]).sum().backward()
    return loss.detach()
