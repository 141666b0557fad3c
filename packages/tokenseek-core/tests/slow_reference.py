"""The method written the slow, obvious way, apart from the package: one dense pass, constants.

Every attention module sees keys and values of unselected tokens as constants (stop-gradient), all
else is the ordinary dense model, and the loss reads the selected rows only.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

selected: Tensor | None = None  # [b, s], True where a token's key and value carry gradient


def detached_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    **kwargs: Any,
) -> tuple[Tensor, Tensor]:
    assert selected is not None
    assert attention_mask is not None
    keep = selected[:, None, :, None]
    key = torch.where(keep, key, key.detach())
    value = torch.where(keep, value, value.detach())
    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    scores = query @ key.transpose(-1, -2) * scaling + attention_mask
    attention = scores.softmax(-1)
    return (attention @ value).transpose(1, 2).contiguous(), attention


ALL_ATTENTION_FUNCTIONS.register("slow_reference", detached_attention)
# The eager mask is always written out, as an additive one.
ALL_MASK_ATTENTION_FUNCTIONS.register("slow_reference", ALL_MASK_ATTENTION_FUNCTIONS["eager"])


@contextmanager
def slow_attention(model: PreTrainedModel, keep: Tensor) -> Iterator[None]:
    global selected
    before = model.config._attn_implementation
    model.set_attn_implementation("slow_reference")
    selected = keep
    try:
        yield
    finally:
        model.set_attn_implementation(before)
        selected = None


def slow_loss(
    model: PreTrainedModel, batch: dict[str, Tensor], keep: Tensor, num_items: int | None = None
) -> Tensor:
    """L = sum_i (n_i / N) * mean of the cross-entropies of the selected supervised rows."""
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    with slow_attention(model, keep):
        logits = model(**inputs, use_cache=False).logits
    targets = F.pad(batch["labels"][:, 1:], (0, 1), value=-100)
    total = num_items or int((targets != -100).sum())
    loss: Tensor = logits.new_zeros(())
    for row_logits, row_targets, row_keep in zip(logits, targets, keep, strict=True):
        counted = row_keep & (row_targets != -100)
        if counted.any():
            mean = F.cross_entropy(row_logits[counted], row_targets[counted])
            loss = loss + int((row_targets != -100).sum()) / total * mean
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
    """Largest error of any parameter's gradient, relative to that gradient's norm."""
    assert found.keys() == expected.keys()
    assert expected
    return max(
        float((found[n] - expected[n]).norm() / expected[n].norm().clamp(min=1e-12))
        for n in expected
    )


def in_float64(monkeypatch: pytest.MonkeyPatch, model: PreTrainedModel) -> None:
    """Let RMS norms and rotary angles compute in float64: they round to float32, above 1e-10."""

    def norm(self: Any, x: Tensor) -> Tensor:
        scale = torch.rsqrt(x.square().mean(-1, keepdim=True) + self.variance_epsilon)
        scaled: Tensor = self.weight * x * scale
        return scaled

    def rotary(self: Any, x: Tensor, position_ids: Tensor) -> tuple[Tensor, Tensor]:
        angles = position_ids[..., None].double() * self.inv_freq.double()
        angles = torch.cat((angles, angles), dim=-1)
        return angles.cos() * self.attention_scaling, angles.sin() * self.attention_scaling

    for module in model.modules():
        kind = type(module)
        if kind.__name__.endswith("RMSNorm"):
            monkeypatch.setattr(kind, "forward", norm)
        elif kind.__name__.endswith("RotaryEmbedding"):
            monkeypatch.setattr(kind, "forward", rotary)
