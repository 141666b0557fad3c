"""Every tensor of an adapter gets a gradient from TokenSeek's steps, and moves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import peft
import pytest
import torch
from torch import Tensor, nn

from families import tiny_batch, tiny_model
from heads import TASKS, headed
from taken import always
from tokenseek_core import apply_tokenseek

STEPS = 3  # half of an adapter begins at zero, and has no gradient before the other half moved

Made = Callable[..., peft.PeftConfig]


def prompt(*, target_modules: list[str], **task: Any) -> peft.PeftConfig:
    """Virtual tokens, which have no layers."""
    return peft.PromptTuningConfig(num_virtual_tokens=4, **task)


def lora(**task: Any) -> peft.PeftConfig:
    return peft.LoraConfig(r=4, **task)


def dora(**task: Any) -> peft.PeftConfig:
    return peft.LoraConfig(r=4, use_dora=True, **task)


def loha(**task: Any) -> peft.PeftConfig:
    return peft.LoHaConfig(r=4, **task)


def lokr(**task: Any) -> peft.PeftConfig:
    return peft.LoKrConfig(r=2, decompose_both=True, **task)


def oft(**task: Any) -> peft.PeftConfig:
    return peft.OFTConfig(r=0, oft_block_size=8, **task)


def ia3(**task: Any) -> peft.PeftConfig:
    return peft.IA3Config(feedforward_modules=[], **task)


def assert_all_move(outer: Any, batch: dict[str, Tensor]) -> None:
    """Take a few steps, and look at every trainable tensor."""
    outer.train()
    trained: dict[str, nn.Parameter] = {
        name: parameter for name, parameter in outer.named_parameters() if parameter.requires_grad
    }
    before = {name: parameter.detach().clone() for name, parameter in trained.items()}
    frozen = {
        name: parameter.detach().clone()
        for name, parameter in outer.named_parameters()
        if name not in trained
    }
    assert trained
    assert frozen
    optimizer = torch.optim.AdamW(trained.values(), lr=1e-2, weight_decay=0)
    reached = set()
    with apply_tokenseek(outer, always(0.5)) as handle:
        for _ in range(STEPS):
            optimizer.zero_grad()
            outer(**batch).loss.backward()
            assert handle.last is not None
            reached |= {
                name
                for name, given in trained.items()
                if given.grad is not None and given.grad.any()
            }
            optimizer.step()
    assert reached == set(trained)
    assert not [name for name, value in before.items() if torch.equal(value, trained[name])]
    now = dict(outer.named_parameters())
    assert all(torch.equal(value, now[name]) for name, value in frozen.items())


@pytest.mark.parametrize(
    "made", [lora, dora, loha, lokr, oft, ia3, prompt], ids=lambda made: made.__name__
)
def test_all_of_a_decoders_adapter_moves(made: Made) -> None:
    torch.manual_seed(0)
    config = made(task_type="CAUSAL_LM", target_modules=["q_proj", "v_proj", "down_proj"])
    batch = tiny_batch("right")
    if made is prompt:
        del batch["position_ids"]  # peft makes its own
    assert_all_move(peft.get_peft_model(tiny_model("llama"), config).float(), batch)


@pytest.mark.parametrize(
    "made", [lora, dora, loha, lokr, oft, ia3, prompt], ids=lambda made: made.__name__
)
def test_all_of_a_classifiers_adapter_moves(made: Made) -> None:
    torch.manual_seed(0)
    config = made(task_type="SEQ_CLS", target_modules=["query", "value"])
    outer = peft.get_peft_model(headed("bert", "sequence"), config).float()
    assert_all_move(outer, TASKS["sequence"].batch("right"))
