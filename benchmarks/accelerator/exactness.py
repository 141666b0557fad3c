"""Gradients of the device against those of the CPU, and of all tokens against the dense ones."""

from __future__ import annotations

import copy
from typing import Any

import torch
from accelerator.devices import device
from accelerator.steps import SEEKING, tuned
from torch import Tensor
from transformers import AutoModelForCausalLM, LlamaConfig

from tiny_models import VOCABULARY, random_model, tiny_config
from tokenseek_core import Signals, TokenSeekConfig
from tokenseek_core.inspect import Method, using

Gradients = dict[str, Tensor]

TOLERANCE = 1e-6
"""Of float64; norms and softmax of most models are in float32 whatever their type."""

OF_DENSE = 1.5
"""How much more than the dense gradient a kept one may err in bfloat16."""

COMPARED = {name: SEEKING[name] for name in ("random-30", "paper-30", "default-30")}
WHOLE = {
    kind: TokenSeekConfig(ratio=1.0, gradient=kind, dense_above=None)
    for kind in ("restart", "inject")
}
PLAIN = ("full", "lora")


def family_gradients(*, family: str) -> dict[str, Any]:
    """Of a tiny model in float64: both gradients, tuned both ways, with and without checkpointing.

    Args:
        family: One of the tests' tiny models.

    Returns:
        Largest deviations, as shares of the largest entry of the gradient.
    """
    against_cpu, against_dense = {}, {}
    for tuning in PLAIN:
        model = tuned(random_model(AutoModelForCausalLM, tiny_config(family)), tuning, rank=2)
        enliven(model)
        there = copy.deepcopy(model).to(device())
        batch = padded_batch()
        there_batch = {name: value.to(device()) for name, value in batch.items()}
        for checkpointing in (False, True):
            suffix = f"{tuning}{', checkpointing' if checkpointing else ''}"
            for name, config in COMPARED.items():
                method = Method(name, config, checkpointing)
                expected = gradients(model, batch, method)
                found = gradients(there, there_batch, method)
                against_cpu[f"{name}, {suffix}"] = deviation(found, expected)
            dense = gradients(there, there_batch, Method("dense"))
            for kind, config in WHOLE.items():
                found = gradients(there, there_batch, Method(kind, config, checkpointing))
                against_dense[f"{kind}, {suffix}"] = deviation(found, dense)
    return judged(
        {"against_cpu": against_cpu, "all_tokens_against_dense": against_dense},
        largest=max(*against_cpu.values(), *against_dense.values()),
        tolerance=TOLERANCE,
    )


def bfloat16_gradients(*, width: int, layers: int, length: int) -> dict[str, Any]:
    """Of a decoder in bfloat16, by torch's attention, against the same weights in float32."""
    config = LlamaConfig(
        vocab_size=1024,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=layers,
        num_attention_heads=width // 32,
        num_key_value_heads=width // 64,
    )
    torch.manual_seed(0)
    half = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).to(device()).train()
    single = copy.deepcopy(half).float()
    ids = torch.randint(3, 1024, (2, length), generator=torch.Generator().manual_seed(0))
    batch = {"input_ids": ids.to(device()), "labels": ids.to(device())}
    methods = [Method("dense")] + [
        Method(kind, TokenSeekConfig(ratio=0.2, gradient=kind, selector=scattered))
        for kind in ("restart", "inject")
    ]
    errors, kernels = {}, {}
    for method in methods:
        expected = gradients(single, batch, method)
        with torch.profiler.profile() as profile:
            found = gradients(half, batch, method)
        errors[method.name] = relative_error(found, expected)
        names = {event.key for event in profile.key_averages()}
        kernels[method.name] = sorted(
            name for name in names if name.startswith("aten::_scaled_dot_product")
        )
    return judged(
        {"errors": errors, "attention": kernels},
        largest=max(errors.values()),
        tolerance=OF_DENSE * errors["dense"],
    )


def scattered(signals: Signals) -> Tensor:
    """Scores that look at token ids alone, so that no rounding changes what is kept."""
    assert signals.input_ids is not None
    return (signals.input_ids * 7919 % 1009).to(signals.final.dtype)


def enliven(model: Any) -> None:
    """Let no adapter be zero, where one of its factors has no gradient."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.05)


def padded_batch() -> dict[str, Tensor]:
    """Three instances of 24, 17 and 12 tokens, padded on the left, with a prompt each."""
    torch.manual_seed(1)
    ids = torch.randint(3, VOCABULARY, (3, 24))
    lengths = torch.tensor([24, 17, 12])[:, None]
    mask = (torch.arange(24) >= 24 - lengths).long()
    labels = ids.masked_fill(torch.arange(24) < 26 - lengths, -100)
    return {"input_ids": ids * mask, "attention_mask": mask, "labels": labels}


def gradients(model: Any, batch: dict[str, Tensor], method: Method) -> Gradients:
    """The gradients of a step, on the CPU; draws are the same for every call."""
    torch.manual_seed(0)
    with using(model, method):
        model(**batch, use_cache=False).loss.backward()
    found = {
        name: parameter.grad.cpu()
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }
    model.zero_grad()
    return found


def deviation(found: Gradients, expected: Gradients) -> float:
    """The largest difference, as a share of the largest entry that is expected."""
    assert found.keys() == expected.keys()
    largest = max(value.abs().max() for value in expected.values())
    return float(max((found[n] - expected[n]).abs().max() for n in expected) / largest)


def relative_error(found: Gradients, expected: Gradients) -> float:
    """Norm of the difference, as a share of the norm that is expected."""
    ours, theirs = (
        torch.cat([g[name].float().flatten() for name in expected]) for g in (found, expected)
    )
    return float((ours - theirs).norm() / theirs.norm())


def judged(figures: dict[str, Any], *, largest: float, tolerance: float) -> dict[str, Any]:
    """Figures of a check, with the largest of them and the most that it may be."""
    return figures | {"largest": largest, "tolerance": tolerance, "holds": largest <= tolerance}
