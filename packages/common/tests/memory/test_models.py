"""Models and optimizers of many kinds: the books of each against torch's profiler."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from memory.profiled import profiled_peak
from tokenseek_common import InputError
from tokenseek_common.memory import MemoryReport, estimate, ledger

pytestmark = pytest.mark.slow

torch.set_num_threads(1)

Case = tuple[Callable[[], nn.Module], Callable[[], Tensor], Callable[[Any, Tensor], Tensor]]


class Convolutional(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(3, 16, 3, padding=1),
            nn.BatchNorm2d(16),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=2, dilation=2, groups=2),
            nn.GroupNorm(4, 32),
            nn.GELU(),
            nn.ConvTranspose2d(32, 8, 2, stride=2),
            nn.Dropout(0.1),
        )


class Bags(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.bags = nn.EmbeddingBag(1000, 32, mode="mean")
        self.head = nn.Linear(32, 4)

    def forward(self, tokens: Tensor) -> Tensor:
        found: Tensor = self.head(self.bags(tokens))
        return found


class Answering(nn.Module):
    """Returns what is no tensor: a number and a list in a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(64, 64) for _ in range(3))

    def forward(self, x: Tensor) -> dict[str, Any]:
        states = [x]
        for layer in self.layers:
            states.append(layer(states[-1]).tanh())
        return {"depth": len(states), "states": states}


def parametrized() -> nn.Module:
    return nn.Sequential(
        parametrizations.weight_norm(nn.Linear(64, 128)),
        nn.Tanh(),
        parametrizations.spectral_norm(nn.Linear(128, 64)),
    )


def tied() -> nn.Module:
    net = nn.Sequential(nn.Embedding(200, 32), nn.Linear(32, 200, bias=False))
    net[1].weight = net[0].weight
    return net


def t5() -> nn.Module:
    from transformers import T5Config, T5ForConditionalGeneration

    config: Any = T5Config(vocab_size=256, d_model=64, d_kv=16, d_ff=128, num_layers=2, num_heads=4)
    config.decoder_start_token_id = 0
    model: nn.Module = T5ForConditionalGeneration(config)
    return model


def vit() -> nn.Module:
    from transformers import ViTConfig, ViTModel

    sizes: dict[str, Any] = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    images: dict[str, Any] = {"intermediate_size": 128, "image_size": 32, "patch_size": 8}
    model: nn.Module = ViTModel(ViTConfig(**sizes, **images))
    return model.train()


def convnext() -> nn.Module:
    from transformers import ConvNextConfig, ConvNextModel

    sizes: dict[str, Any] = {
        "depths": [1, 1, 2, 1],
        "hidden_sizes": [16, 32, 48, 64],
        "drop_path_rate": 0.1,
    }
    model: nn.Module = ConvNextModel(ConvNextConfig(**sizes))
    return model.train()


def first(model: Any, x: Tensor) -> Tensor:
    states: Tensor = model(x)[0]
    return states.square().mean()


def only(model: Any, x: Tensor) -> Tensor:
    states: Tensor = model(x)
    return states.square().mean()


def images() -> Tensor:
    return torch.ones(4, 3, 32, 32)


def tokens() -> Tensor:
    return torch.arange(96).view(4, 24)


def sequences() -> Tensor:
    return torch.ones(4, 32, 64)


CASES: dict[str, Case] = {
    "convolutional": (Convolutional, images, only),
    "gru": (lambda: nn.GRU(64, 64, 2, batch_first=True), sequences, first),
    "embedding bags": (Bags, tokens, only),
    "attention": (
        lambda: nn.TransformerEncoderLayer(64, 4, 128, batch_first=True),
        sequences,
        only,
    ),
    "parametrized": (parametrized, lambda: torch.ones(32, 64), only),
    "tied": (tied, tokens, only),
    "no tensors": (
        Answering,
        lambda: torch.ones(32, 64),
        lambda model, x: torch.stack(model(x)["states"]).mean(),
    ),
    "t5": (t5, tokens, lambda model, x: model(input_ids=x, labels=x).loss),
    "vit": (vit, images, lambda model, x: model(x).last_hidden_state.mean()),
    "convnext": (convnext, images, lambda model, x: model(x).last_hidden_state.mean()),
    "lstm": (lambda: nn.LSTM(64, 64, 2, batch_first=True), sequences, first),
    "lstm in float64": (
        lambda: nn.LSTM(64, 64, batch_first=True, dtype=torch.float64),
        lambda: torch.ones(4, 32, 64, dtype=torch.float64),
        first,
    ),
}
REFUSED = {"lstm"}


class ByteState(torch.optim.Optimizer):
    """Keeps its average in bytes with a scale, as optimizers of 8 bits do."""

    def __init__(self, parameters: list[nn.Parameter]) -> None:
        super().__init__(parameters, {"lr": 0.1})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        for parameter in self.param_groups[0]["params"]:
            if parameter.grad is None:
                continue
            state = self.state[parameter]
            if not state:
                zeros = torch.zeros_like(parameter, dtype=torch.int8)
                state["average"] = {"bytes": zeros, "scale": torch.ones(1)}
            average = state["average"]["bytes"].float() * state["average"]["scale"]
            average.lerp_(parameter.grad, 0.1)
            scale = average.abs().amax() / 127
            state["average"] = {"bytes": (average / scale).to(torch.int8), "scale": scale[None]}
            parameter.sub_(average, alpha=0.1)
        return None


OPTIMIZERS: dict[str, Callable[[list[nn.Parameter]], torch.optim.Optimizer]] = {
    "fused AdamW": lambda p: torch.optim.AdamW(p, fused=True),
    "AdamW one by one": lambda p: torch.optim.AdamW(p, foreach=False, amsgrad=True),
    "AdamW together": lambda p: torch.optim.AdamW(p, foreach=True),
    "SGD with momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, foreach=True),
    "RMSprop": lambda p: torch.optim.RMSprop(p, centered=True, momentum=0.9, foreach=True),
    "Adafactor": lambda p: torch.optim.Adafactor(p),
    "Lion's kin with state in bytes": lambda p: ByteState(p),
}


def stepping(
    case: Case, make_optimizer: Callable[[list[nn.Parameter]], torch.optim.Optimizer]
) -> tuple[nn.Module, torch.optim.Optimizer, Callable[[], None]]:
    build, batch, loss = case
    torch.manual_seed(0)
    model, x = build(), batch()
    optimizer = make_optimizer(list(model.parameters()))

    def step() -> None:
        loss(model, x).backward()
        optimizer.step()
        optimizer.zero_grad()

    step()
    return model, optimizer, step


def booked(
    model: nn.Module, optimizer: torch.optim.Optimizer, step: Callable[[], None]
) -> MemoryReport:
    with ledger(model, optimizer) as reading:
        step()
    return reading.report


def close(case: Case, optimizer: str) -> None:
    trained = stepping(case, OPTIMIZERS[optimizer])
    report = booked(*trained)
    assert report.unseen is not None
    allocated = report.added - report.kinds["other"] + report.unseen
    assert allocated == pytest.approx(profiled_peak(trained[-1]), rel=0.03)


@pytest.mark.parametrize("name", CASES)
def test_the_books_of_any_model_and_what_its_kernels_hold_make_the_peak(name: str) -> None:
    if name in ("t5", "vit", "convnext"):
        pytest.importorskip("transformers")
    close(CASES[name], "fused AdamW")


@pytest.mark.parametrize("optimizer", list(OPTIMIZERS)[1:])
def test_the_books_of_any_optimizer_and_what_its_kernels_hold_make_the_peak(optimizer: str) -> None:
    close(CASES["attention"], optimizer)


@pytest.mark.parametrize("name", [name for name in CASES if name not in REFUSED])
def test_the_estimate_of_any_model_is_its_ledger(name: str) -> None:
    if name in ("t5", "vit", "convnext"):
        pytest.importorskip("transformers")
    build, batch, loss = CASES[name]
    real = booked(*stepping(CASES[name], OPTIMIZERS["fused AdamW"]))
    assert estimate(build, batch, loss).peak == pytest.approx(real.peak, rel=0.03)


@pytest.mark.parametrize("optimizer", [name for name in OPTIMIZERS if name != "Adafactor"][1:])
def test_the_estimate_of_any_optimizer_is_its_ledger(optimizer: str) -> None:
    build, batch, loss = CASES["attention"]
    real = booked(*stepping(CASES["attention"], OPTIMIZERS[optimizer]))
    estimated = estimate(build, batch, loss, optimizer=OPTIMIZERS[optimizer])
    assert estimated.peak == pytest.approx(real.peak, rel=0.03)
    assert estimated.kinds["optimizer"] == real.kinds["optimizer"]


def test_an_lstm_is_refused_without_values() -> None:
    build, batch, loss = CASES["lstm"]
    with pytest.raises(InputError) as refusal:
        estimate(build, batch, loss)
    assert str(refusal.value) == (
        "model (itself is an LSTM) must have values, since without them torch takes a kernel that "
        "keeps less; keep the books of a real step with ledger()"
    )


def test_an_optimizer_that_reads_values_is_refused() -> None:
    build, batch, loss = CASES["attention"]
    with pytest.raises(InputError) as refusal:
        estimate(build, batch, loss, optimizer=OPTIMIZERS["Adafactor"])
    assert str(refusal.value) == (
        "optimizer (aten._local_scalar_dense.default) must not depend on the values of tensors, "
        "which an estimate does not have; leave such operations out of it"
    )


def test_what_kernels_hold_stands_in_the_table() -> None:
    trained = stepping(CASES["lstm"], OPTIMIZERS["fused AdamW"])
    report = booked(*trained)
    assert report.unseen
    assert "inside kernels" in report.table()
    assert MemoryReport.from_json(report.to_json()) == report
