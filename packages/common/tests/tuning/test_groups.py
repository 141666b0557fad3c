from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from tokenseek_common import InputError
from tokenseek_common.tuning import freeze, parameter_groups


class T5LayerNorm(nn.Module):
    """A norm that no base class tells."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(2, 2))


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(5, 4)
        self.norm = nn.LayerNorm([2, 4])
        self.other = T5LayerNorm()
        self.router = nn.Linear(4, 2)
        self.attention = nn.MultiheadAttention(4, 2, add_bias_kv=True)
        self.head = nn.Linear(4, 5, bias=False)
        self.head.weight = self.embed.weight
        self.gain = nn.Parameter(torch.tensor(1.0))


def named(module: nn.Module, groups: list[dict[str, Any]]) -> list[set[str]]:
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    return [{names[id(p)] for p in group["params"]} for group in groups]


def test_norms_biases_embeddings_and_vectors_do_not_decay() -> None:
    net = Net()
    groups = parameter_groups(net, learning_rate=1e-3, weight_decay=0.1)
    assert named(net, groups)[0] == {
        "router.weight",
        "attention.in_proj_weight",
        "attention.out_proj.weight",
    }
    assert [(g["lr"], g["weight_decay"]) for g in groups] == [(1e-3, 0.1), (1e-3, 0.0)]


@pytest.mark.parametrize("rates", [None, {"router.*": 1e-2}, {"*.bias": 1.0, "*": 0.5}])
def test_every_trainable_parameter_is_in_exactly_one_group(rates: dict[str, float] | None) -> None:
    net = Net()
    freeze(net, "norm.*")
    groups = parameter_groups(net, learning_rate=1e-3, learning_rates=rates)
    members = [id(p) for group in groups for p in group["params"]]
    assert sorted(members) == sorted(id(p) for p in net.parameters() if p.requires_grad)
    torch.optim.AdamW(groups)  # refuses parameters that are in two


def test_the_first_pattern_counts_and_the_rest_has_the_common_rate() -> None:
    net = Net()
    rates = {"router.weight": 1e-2, "router.*": 3e-2}
    groups = parameter_groups(net, learning_rate=1e-3, weight_decay=0.1, learning_rates=rates)
    assert [(g["lr"], g["weight_decay"]) for g in groups[2:]] == [(1e-2, 0.1), (3e-2, 0.0)]
    assert named(net, groups)[2:] == [{"router.weight"}, {"router.bias"}]


def test_a_tied_parameter_is_found_by_its_second_name() -> None:
    net = Net()
    groups = parameter_groups(net, learning_rate=1e-3, learning_rates={"head.*": 1.0})
    assert named(net, groups)[-1] == {"embed.weight"}


def test_what_does_not_decay_may_be_said() -> None:
    net = Net()
    everything = parameter_groups(net, learning_rate=1.0, weight_decay=0.1, no_decay=())
    assert [g["weight_decay"] for g in everything] == [0.1]
    gain = parameter_groups(net, learning_rate=1.0, weight_decay=0.1, no_decay=["gain"])
    assert named(net, gain)[1] == {"gain"}


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (
            {"learning_rates": {"routr.*": 1.0}},
            r"^pattern \(routr\.\*\) must match one of 14 names, such as gain; correct it",
        ),
        ({"no_decay": ["nrom.*"]}, r"^pattern \(nrom\.\*\) must match one of 14 names"),
        (
            {"learning_rates": {"router.*": 1.0, "router.bias": 0.5}},
            r"^pattern \(router\.bias\) must match a parameter that no earlier one does; "
            r"put it first, or leave it out$",
        ),
        (
            {"learning_rates": {"router.*": -1.0}},
            r"^learning rate of router\.\* \(-1\.0\) must be at least 0 and finite; choose an",
        ),
        (
            {"weight_decay": float("nan")},
            r"^weight_decay \(nan\) must be at least 0 and finite; choose another$",
        ),
    ],
)
def test_what_cannot_be_grouped_is_refused(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        parameter_groups(Net(), learning_rate=1e-3, **settings)


def test_a_pattern_of_frozen_parameters_alone_is_refused() -> None:
    net = Net()
    freeze(net, "router.*")
    with pytest.raises(InputError, match=r"^pattern \(router\.\*\) must match one of"):
        parameter_groups(net, learning_rate=1e-3, learning_rates={"router.*": 1.0})


def test_a_module_without_trainable_parameters_is_refused() -> None:
    told = r"^module \(all frozen\) must have a trainable parameter; unfreeze one$"
    with pytest.raises(InputError, match=told):
        parameter_groups(nn.Linear(2, 2).requires_grad_(False), learning_rate=1e-3)
