"""The method written the slow, obvious way, apart from the package: one dense pass, constants.

Every attention module sees keys and values of unselected tokens as constants (stop-gradient), all
else is the ordinary dense model, and the loss reads the selected rows only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

selected: Tensor | None = None  # [b, s], True where a token's key and value carry gradient
selected_source: Tensor | None = None  # [b, n], the same of the tokens that an encoder reads


def detached_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    softcap: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, Tensor]:
    kept = selected
    if selected_source is not None and key.shape[2] == selected_source.shape[1]:
        kept = selected_source
    assert kept is not None
    keep = kept[:, None, :, None]
    key = torch.where(keep, key, key.detach())
    value = torch.where(keep, value, value.detach())
    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    scores = query @ key.transpose(-1, -2) * scaling
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    if kwargs.get("position_bias") is not None:
        scores = scores + kwargs["position_bias"]
    if attention_mask is not None:  # pictures have none
        scores = scores + attention_mask
    attention = scores.softmax(-1)
    return (attention @ value).transpose(1, 2).contiguous(), attention


ALL_ATTENTION_FUNCTIONS.register("slow_reference", detached_attention)
# The eager mask is always written out, as an additive one.
ALL_MASK_ATTENTION_FUNCTIONS.register("slow_reference", ALL_MASK_ATTENTION_FUNCTIONS["eager"])


@contextmanager
def slow_attention(
    model: PreTrainedModel, keep: Tensor, source: Tensor | None = None
) -> Iterator[None]:
    """Let no gradient through keys and values of tokens that are not kept.

    Where `source` says which tokens of an encoder are, there must be another number of them.
    """
    global selected, selected_source
    assert source is None or source.shape[1] != keep.shape[1]
    before = model.config._attn_implementation
    model.set_attn_implementation("slow_reference")
    selected, selected_source = keep, source
    try:
        yield
    finally:
        model.set_attn_implementation(before)
        selected = selected_source = None


def shifted(labels: Tensor) -> Tensor:
    """The next token's label."""
    return F.pad(labels[:, 1:], (0, 1), value=-100)


def slow_loss(
    model: PreTrainedModel,
    batch: dict[str, Tensor],
    keep: Tensor,
    num_items: int | None = None,
    importance: Tensor | None = None,
    target: Callable[[Tensor], Tensor] = shifted,
    attending: PreTrainedModel | None = None,
    source: Tensor | None = None,
) -> Tensor:
    """L = sum_i (n_i / N) * mean of the cross-entropies of the selected supervised rows.

    `importance`, where it is given, weighs the rows of each mean; `target` makes each row's target
    of the labels; `attending` is the part whose tokens are selected, if it is not the model;
    `source` are the selected tokens of an encoder. i is a sequence: there are several in a row
    where positions begin again.
    """
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    with slow_attention(attending or model, keep, source):
        logits = model(**inputs, use_cache=False).logits
    targets = target(batch["labels"])
    total = num_items or int((targets != -100).sum())
    loss: Tensor = logits.new_zeros(())
    weights = torch.ones(targets.shape, dtype=logits.dtype) if importance is None else importance
    for i in range(len(keep)):
        begins = (batch["position_ids"][i] == 0).nonzero() if "position_ids" in batch else keep[:0]
        ends = [*begins.flatten().tolist()[1:], keep.shape[1]]
        for start, end in zip([0, *ends], ends, strict=False):
            carrying = targets[i, start:end] != -100
            counted = keep[i, start:end] & carrying
            if not counted.any():
                continue
            here = [x[i, start:end][counted] for x in (logits, targets, weights)]
            each = F.cross_entropy(here[0], here[1], reduction="none")
            mean = (each * here[2]).sum() / here[2].sum()
            loss = loss + int(carrying.sum()) / total * mean
    return loss


def gradients(model: nn.Module) -> dict[str, Tensor]:
    """Take the gradients off a model."""
    found = {}
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            found[name] = parameter.grad.clone()
        parameter.grad = None
    return found


def relative_error(found: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    """Largest error of any parameter's gradient, relative to that gradient's norm.

    A key's bias without rotary angles shifts all logits of a row alike: with every token kept, its
    gradient is zero but for rounding. So no norm counts as less than 1e-5 of all gradients' norm.
    """
    assert found.keys() == expected.keys()
    assert expected
    norms = {n: float(gradient.norm()) for n, gradient in expected.items()}
    least = max(1e-5 * math.hypot(*norms.values()), 1e-12)
    errors = [float((found[n] - expected[n]).norm()) / max(norms[n], least) for n in expected]
    assert all(map(math.isfinite, errors)), "a maximum would not show them"
    return max(errors)
