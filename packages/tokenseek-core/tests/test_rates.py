from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers import PreTrainedModel

from exact import BOUND, exact_model
from families import tiny_batch, with_lora
from slow_reference import gradients
from taken import always
from tokenseek_common import InputError
from tokenseek_core import TokenSeekConfig, apply_tokenseek


@pytest.fixture
def llama(monkeypatch: pytest.MonkeyPatch) -> PreTrainedModel:
    return exact_model(monkeypatch, "llama")


def rates(model: nn.Module, config: TokenSeekConfig, **settings: float) -> dict[int, float]:
    """The learning rate of each parameter that is in a group, by its identity."""
    with apply_tokenseek(model, config) as handle:
        groups = handle.parameter_groups(learning_rate=1.0, **settings)
    found = [(id(p), group["lr"]) for group in groups for p in group["params"]]
    assert len(dict(found)) == len(found)
    return dict(found)


@pytest.mark.parametrize("exact_blocks", [1, 2])
def test_of_the_blocks_those_of_the_full_rate_have_the_dense_gradient(
    llama: PreTrainedModel, exact_blocks: int
) -> None:
    batch = tiny_batch()
    llama(**batch).loss.backward()
    dense = {name: found.clone() for name, found in gradients(llama).items()}
    llama.zero_grad(set_to_none=True)
    config = always(0.3, gradient="inject", exact_blocks=exact_blocks)
    with apply_tokenseek(llama, config):
        llama(**batch).loss.backward()
    found = rates(llama, config, replayed=0.25)
    exact = {}
    for name, p in llama.named_parameters():
        if ".layers." in name:
            assert p.grad is not None
            exact[id(p)] = bool((p.grad - dense[name]).norm() <= BOUND * dense[name].norm())
    assert 0 < sum(exact.values()) < len(exact)
    assert {key: rate for key, rate in found.items() if key in exact} == {
        key: 1.0 if is_exact else 0.25 for key, is_exact in exact.items()
    }


def test_every_trainable_parameter_has_a_rate_and_decay_spares_norms(
    llama: PreTrainedModel,
) -> None:
    assert rates(llama, TokenSeekConfig()).keys() == {id(p) for p in llama.parameters()}
    with apply_tokenseek(llama, TokenSeekConfig()) as handle:
        groups = handle.parameter_groups(learning_rate=1.0, weight_decay=0.1)
    decay = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    block = llama.model.layers[0]
    assert decay[id(block.mlp.up_proj.weight)] == 0.1
    assert decay[id(block.input_layernorm.weight)] == 0


def test_adapters_of_replayed_blocks_learn_at_their_share(llama: PreTrainedModel) -> None:
    model = with_lora(llama)
    found = rates(model, TokenSeekConfig(), replayed=0.5)
    last = f".layers.{len(llama.model.layers) - 1}."
    trained = {name: found[id(p)] for name, p in model.named_parameters() if p.requires_grad}
    assert len(trained) == len(found)
    assert {rate for name, rate in trained.items() if last in name} == {1.0}
    assert {rate for name, rate in trained.items() if last not in name} == {0.5}


def test_where_nothing_is_exact_or_the_share_is_none_a_sentence_says_so(
    llama: PreTrainedModel,
) -> None:
    with apply_tokenseek(llama, TokenSeekConfig.paper()) as handle:
        with pytest.raises(InputError, match=r"^gradient \(restart\) must be inject, which keeps"):
            handle.parameter_groups(learning_rate=1e-3)
        handle.config = TokenSeekConfig()
        with pytest.raises(InputError, match=r"^replayed \(0\) must be in \(0, 1\]; 0.25 gives"):
            handle.parameter_groups(learning_rate=1e-3, replayed=0)
        with pytest.raises(InputError, match=r"^learning_rate \(-1\) must be at least 0"):
            handle.parameter_groups(learning_rate=-1)


def test_an_optimizer_takes_the_groups(llama: PreTrainedModel) -> None:
    before = {name: p.detach().clone() for name, p in llama.named_parameters()}
    with apply_tokenseek(llama, always(0.3, gradient="inject")) as handle:
        groups = handle.parameter_groups(learning_rate=1e-3, replayed=0.25)
        optimizer = torch.optim.AdamW(groups)
        llama(**tiny_batch()).loss.backward()
        optimizer.step()
    moved = {
        name: float((p - before[name]).abs().max().detach())
        for name, p in llama.named_parameters()
        if ".mlp." in name
    }  # a first step of AdamW is the rate, by the sign of the gradient
    last = f".layers.{len(llama.model.layers) - 1}."
    for name, distance in moved.items():
        assert distance == pytest.approx(1e-3 if last in name else 2.5e-4, rel=0.02)
