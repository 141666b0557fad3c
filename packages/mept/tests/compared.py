"""A model with prompts held to the slow reference."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import reference
from tiny import DECODERS, SEQ2SEQ, prompts_of, tiny_batch, tiny_model, tuned

BOUND = 1e-10


def leaves(prompts: dict[str, Tensor]) -> dict[str, Tensor]:
    return {n: p.detach().clone().requires_grad_() for n, p in prompts.items()}


def slow(
    family: str,
    prompts: dict[str, Tensor],
    batch: dict[str, Tensor],
    k: int,
    wide: dict[str, Any],
    **settings: Any,
) -> tuple[list[Tensor], list[Tensor]]:
    """The reference's logits of each input, and their targets."""
    model = tiny_model(family, **wide)
    logits, targets = [], []
    for row, mask in enumerate(batch["attention_mask"].bool()):
        ids, labels, first = (
            batch["input_ids"][row][mask],
            batch["labels"][row],
            int(mask.int().argmax()),
        )
        if family in DECODERS:
            labels = labels[mask]
            found = reference.decoder_logits(model, prompts, ids, settings.get("seen", [0, 1]), k)
            logits.append(found)
            targets.append(torch.cat([labels[1:], torch.tensor([-100])]))
        elif family in SEQ2SEQ:
            start = torch.tensor([model.config.decoder_start_token_id])
            given = torch.cat([start, labels[:-1]]).clamp(min=0)
            found = reference.seq2seq_logits(
                model, prompts, ids, given, k, first_position=first, **settings
            )
            logits.append(found)
            targets.append(labels)
        else:
            types = batch["token_type_ids"][row][mask]
            logits.append(reference.token_logits(model, prompts, ids, types, k, **settings))
            targets.append(labels[mask])
    return logits, targets


def real_logits(family: str, logits: Tensor, batch: dict[str, Tensor]) -> list[Tensor]:
    if family in SEQ2SEQ:
        return list(logits)
    return [rows[m] for rows, m in zip(logits, batch["attention_mask"].bool(), strict=True)]


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor], bound: float) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        scale = max(float(value.norm()), 1e-6)
        assert float((found[name] - value).norm()) / scale < bound, name


def assert_as_reference(
    family: str,
    padding: str,
    slow_settings: dict[str, Any] | None = None,
    *,
    implementation: str | None = None,
    **settings: Any,
) -> Any:
    """Run a batch through both, and compare logits, loss and all gradients."""
    # Windows are counted in rows: padding on the left moves prompts out of them.
    wide: dict[str, Any] = {"sliding_window": 12} if padding == "left" else {}
    model = tuned(tiny_model(family, **wide), **settings)
    if implementation is not None:
        model.get_base_model().set_attn_implementation(implementation)
    batch = tiny_batch(family, padding)
    output = model(**batch)
    output.loss.backward()

    parameters = prompts_of(model)
    copies = leaves(parameters)
    logits, targets = slow(
        family, copies, batch, settings.get("top_k", 2), wide, **slow_settings or {}
    )
    loss = reference.mean_cross_entropy(logits, targets)
    loss.backward()
    for ours, theirs in zip(real_logits(family, output.logits, batch), logits, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=BOUND, atol=BOUND)
    assert float(output.loss.detach()) == pytest.approx(float(loss.detach()), rel=BOUND)
    grads = {n: p.grad for n, p in parameters.items() if p.grad is not None}
    assert_same(grads, {n: p.grad for n, p in copies.items() if p.grad is not None}, 1e-8)
    return model
