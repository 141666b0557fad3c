from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tokenseek_common.tuning import freeze, input_gradients


class Net(nn.Module):
    """A frozen embedding in front of a reentrantly checkpointed layer that is trained."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Embedding(5, 4)
        self.layer = nn.Linear(4, 4)
        freeze(self, "embed.*")

    def forward(self, tokens: Tensor, *, checkpointed: bool) -> Any:
        hidden = self.embed(tokens)
        if checkpointed:
            return checkpoint(self.layer, hidden, use_reentrant=True)
        return self.layer(hidden)


def test_the_gradients_of_checkpointed_layers_are_those_without_checkpointing() -> None:
    net, tokens = Net(), torch.tensor([[1, 2, 3]])
    net(tokens, checkpointed=False).square().sum().backward()
    expected = [p.grad for p in net.layer.parameters()]
    net.zero_grad()
    with input_gradients(net.embed):
        net(tokens, checkpointed=True).square().sum().backward()
    for parameter, gradient in zip(net.layer.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=0, atol=0)
    assert net.embed.weight.grad is None


def test_after_the_handle_is_removed_nothing_is_left() -> None:
    net = Net()
    handle = input_gradients(net.embed)
    handle.remove()
    assert not net.embed(torch.tensor([1])).requires_grad
    assert not net.embed._forward_hooks


class Several(nn.Module):
    """Gives its own frozen weight, integers and nested tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2), requires_grad=False)

    def forward(self) -> dict[str, Any]:
        return {"weight": self.weight, "ids": torch.tensor([1]), "nested": (torch.ones(1), None)}


def test_outputs_of_any_form_are_reached_and_the_weights_stay_frozen() -> None:
    module = Several()
    with input_gradients(module):
        output = module()
        assert output["weight"].requires_grad
        assert output["nested"][0].requires_grad
        assert not output["ids"].requires_grad
        with torch.no_grad():
            assert not module()["nested"][0].requires_grad
    assert not module.weight.requires_grad


def test_an_output_that_has_a_graph_keeps_it() -> None:
    module = nn.Linear(2, 2)
    with input_gradients(module):
        module(torch.ones(1, 2)).sum().backward()
    assert module.weight.grad is not None
