from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.testing._internal.two_tensor import TwoTensor

from tokenseek_common import InputError
from tokenseek_common.tuning import PartCount, count_parameters, freeze


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.lora = nn.Linear(4, 2, bias=False)


class Backbone(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(5, 4)
        self.layers = nn.ModuleList([Layer(), Layer()])


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.model = Backbone()
        self.head = nn.Linear(4, 5, bias=False)
        self.head.weight = self.model.embed.weight


class Wrapped(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.base = nn.Module()
        self.base.inner = Model()


def adapted() -> Wrapped:
    model = Wrapped()
    freeze(model, "*.embed.*", "*.linear.*")
    return model


def test_parts_are_named_below_the_wrappers_and_layers_are_one_part() -> None:
    count = count_parameters(adapted())
    assert count.parts == {
        "base.inner.model.embed": PartCount(trainable=0, frozen=20, stored=80),
        "base.inner.model.layers": PartCount(trainable=16, frozen=40, stored=224),
    }
    assert (count.trainable, count.frozen, count.stored) == (16, 60, 304)


def test_the_depth_says_how_far_parts_are_told_apart() -> None:
    pair = nn.Sequential(nn.Linear(2, 2), Layer())
    assert list(count_parameters(pair).parts) == ["0", "1"]
    parts = count_parameters(nn.ModuleDict({"a": Model(), "b": Layer()}), depth=3).parts
    assert list(parts) == ["a.model.embed", "a.model.layers", "b.linear", "b.lora"]
    assert list(count_parameters(nn.Linear(2, 2)).parts) == [""]


def test_memory_that_two_parameters_share_is_counted_once_and_halves_of_it_both() -> None:
    model = Model()
    model.head.weight = nn.Parameter(model.model.embed.weight.detach())
    assert count_parameters(model).stored == 304
    halves = torch.ones(6)
    views = nn.ParameterDict({"a": halves[:3], "b": halves[3:], "c": halves[:3]})
    assert count_parameters(views).trainable == 6


def test_a_model_on_meta_counts_what_it_would_take() -> None:
    model = Model().bfloat16().to("meta")
    model.head.weight = model.model.embed.weight  # which `to` has parted
    count = count_parameters(model)
    assert (count.trainable, count.stored) == (76, 152)


def test_a_packed_weight_counts_as_its_numbers_and_as_its_bytes_with_scales() -> None:
    layer = nn.Linear(64, 64, bias=False)
    layer.weight = nn.Parameter(torch.zeros(2048, 1, dtype=torch.uint8), requires_grad=False)
    scales = SimpleNamespace(absmax=torch.zeros(1), code=torch.zeros(256))
    layer.weight.quant_state = SimpleNamespace(  # type: ignore[attr-defined]
        shape=torch.Size([64, 64]), absmax=torch.zeros(64, dtype=torch.uint8), state2=scales
    )
    count = count_parameters(layer)
    assert (count.trainable, count.frozen) == (0, 4096)
    assert count.stored == 2048 + 64 + 4 + 1024


def test_a_wrapper_counts_as_the_tensors_in_it() -> None:
    weight = TwoTensor(torch.zeros(3, 3), torch.zeros(3, 3))
    count = count_parameters(nn.ParameterList([nn.Parameter(weight)]))
    assert (count.trainable, count.stored) == (9, 72)


def test_a_parameter_without_a_shape_is_refused() -> None:
    told = r"^0\.weight \(lazy\) must have a shape; run a batch through the model before$"
    with pytest.raises(InputError, match=told):
        count_parameters(nn.Sequential(nn.LazyLinear(3)))


def test_the_count_is_told_as_text_as_cells_and_as_json() -> None:
    count = count_parameters(adapted())
    assert count.table() == (
        "module                   trained  frozen  stored\n"
        "base.inner.model.embed         0      20    80 B\n"
        "base.inner.model.layers       16      40   224 B\n"
        "all                           16      60   304 B"
    )
    title, columns, rows = count.cells()
    assert title == "Parameters, 21.05% trained"
    assert columns == ["module", "trained", "frozen", "stored"]
    assert rows[-1] == ["all", 16, 60, "304 B"]
    assert json.loads(count.to_json()) == {
        "trainable": 16,
        "frozen": 60,
        "stored": 304,
        "parts": {
            "base.inner.model.embed": {"trainable": 0, "frozen": 20, "stored": 80},
            "base.inner.model.layers": {"trainable": 16, "frozen": 40, "stored": 224},
        },
    }


def test_a_model_without_parameters_has_none() -> None:
    count = count_parameters(nn.ReLU())
    assert count.cells() == (
        "Parameters, 0.00% trained",
        ["module", "trained", "frozen", "stored"],
        [["all", 0, 0, "0 B"]],
    )
