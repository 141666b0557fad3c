"""Injected adjoints the slow, obvious way, apart from the package: two dense passes.

The first is cut at the input z of the exact blocks: what comes after gets its dense gradient, and z
gets G; so does what an encoder made, as these blocks read it. The second sees keys and values of
unselected tokens as constants, and goes down from sum_{t in S} w_t <G_t, z_t>, w the importance of
sampled tokens, else 1.
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
    part: nn.Module = model
    depth = getattr(model.config, "num_hidden_layers", 3)  # of a part, where there are several
    if model.config.is_encoder_decoder:
        part, depth = model.get_decoder(), 2
    lists = {n: m for n, m in part.named_modules() if isinstance(m, nn.ModuleList)}
    first = next(name for name, blocks in lists.items() if len(blocks) == depth)
    return lists[first]


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
    source: Tensor | None = None,
    source_importance: Tensor | None = None,
) -> Tensor:
    """Leave the gradients in `.grad`, and return the dense loss.

    `target` makes each row's target of the labels; None leaves the loss to the model. `attending`
    is the part whose tokens are selected, if it is not the model; `source` are the selected tokens
    of an encoder.
    """
    exact = list(find_blocks(model)[-exact_blocks:])
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    cut: list[Tensor] = []
    whole: list[Tensor] = []

    def cut_here(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        cut.append(args[0].detach().requires_grad_())
        return (cut[0], *args[1:])

    def look(module: nn.Module, args: tuple[Any, ...]) -> None:
        whole.append(args[0])

    made: list[Tensor] = []  # by the encoder: in either pass, and as a leaf
    leaves: list[Tensor] = []

    def look_at_source(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        made.append(output.last_hidden_state)
        leaves.append(made[0].detach().requires_grad_())

    def read_leaf(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(leaves[0] if arg is made[0] else arg for arg in args)

    hooks = [exact[0].register_forward_pre_hook(cut_here)]
    if source is not None:
        hooks.append(model.get_encoder().register_forward_hook(look_at_source))
        hooks += [block.register_forward_pre_hook(read_leaf) for block in exact]
    loss: Tensor
    if target is None:
        loss = model(**batch, use_cache=False).loss
    else:
        targets = target(batch["labels"]).flatten()
        total = num_items or int((targets != -100).sum())
        logits = model(**inputs, use_cache=False).logits.flatten(0, 1)
        loss = F.cross_entropy(logits, targets, reduction="sum") / total
    for hook in hooks:
        hook.remove()
    loss.backward()
    adjoint = cut[0].grad
    assert adjoint is not None

    hooks = [exact[0].register_forward_pre_hook(look)]
    if source is not None:
        hooks.append(model.get_encoder().register_forward_hook(look_at_source))
    with slow_attention(attending or model, keep, source):
        model(**inputs, use_cache=False)
    for hook in hooks:
        hook.remove()
    weights = torch.ones_like(keep, dtype=adjoint.dtype) if importance is None else importance
    injected = (weights[keep][:, None] * adjoint[keep] * whole[0][keep]).sum()
    if source is not None:
        by_source = leaves[0].grad
        assert by_source is not None
        of_source = torch.ones_like(source, dtype=adjoint.dtype)
        of_source = of_source if source_importance is None else source_importance
        terms = of_source[source][:, None] * by_source[source] * made[1][source]
        injected = injected + terms.sum()
    injected.backward()
    return loss.detach()
