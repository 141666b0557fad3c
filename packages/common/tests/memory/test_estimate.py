"""What a step will need: is it what a step needs?"""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

from tokenseek_common import InputError
from tokenseek_common.memory import Estimator, MemoryReport, estimate, ledger

pytestmark = pytest.mark.slow

torch.set_num_threads(1)

WIDTH, HEADS = 64, 4


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.up = nn.Linear(WIDTH, 4 * WIDTH)
        self.down = nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        b, s, _ = x.shape
        heads = self.qkv(self.norm(x)).view(b, s, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(heads[0], heads[1], heads[2], is_causal=True)
        x = x + attended.transpose(1, 2).reshape(b, s, WIDTH)
        hidden: Tensor = x + self.down(F.silu(self.up(x)))
        return hidden


class Net(nn.Module):
    scale: Tensor

    def __init__(self, *, checkpointed: bool = False) -> None:
        super().__init__()
        self.checkpointed = checkpointed
        self.embed = nn.Embedding(100, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(3))
        self.head = nn.Linear(WIDTH, 100, bias=False)
        self.register_buffer("scale", torch.arange(WIDTH) / WIDTH)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embed(tokens) * self.scale.to(self.head.weight.dtype)
        for block in self.blocks:
            if self.checkpointed:
                # torch keeps random states where no ledger can see them
                x = checkpoint(block, x, use_reentrant=False, preserve_rng_state=False)
            else:
                x = block(x)
        logits: Tensor = self.head(x)
        return logits


def tied() -> Net:
    net = Net()
    net.head.weight = net.embed.weight
    return net


def frozen_below() -> Net:
    net = Net().requires_grad_(False)
    net.blocks[2].requires_grad_(True)
    return net


def cast_and_moved() -> Net:
    return Net().to(torch.bfloat16).to("cpu")


BUILDS: dict[str, Callable[[], Net]] = {
    "plain": Net,
    "checkpointed": lambda: Net(checkpointed=True),
    "tied": tied,
    "frozen below": frozen_below,
    "cast and moved": cast_and_moved,
}
each_build = pytest.mark.parametrize("build", BUILDS.values(), ids=BUILDS)


def tokens(batch_size: int = 2, length: int = 32) -> Callable[[], Tensor]:
    return lambda: torch.zeros(batch_size, length, dtype=torch.long)


def loss(net: Net, batch: Tensor) -> Tensor:
    return F.cross_entropy(net(batch).flatten(0, 1).float(), batch.flatten())


def real(build: Callable[[], Net], batch: Callable[[], Tensor]) -> MemoryReport:
    net = build()
    trainable = [parameter for parameter in net.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trainable, fused=True)
    made = batch()
    for _ in range(2):
        with ledger(net, optimizer) as reading:
            loss(net, made).backward()
            optimizer.step()
            optimizer.zero_grad()
    return reading.report


def same(estimated: MemoryReport, measured: MemoryReport) -> bool:
    expected = dataclasses.replace(measured, source=estimated.source, unseen=None)
    return estimated == expected


@each_build
def test_the_estimate_is_the_ledger_of_a_real_step(build: Callable[[], Net]) -> None:
    assert same(estimate(build, tokens(), loss), real(build, tokens()))


@each_build
def test_one_estimator_serves_batches_of_any_size(build: Callable[[], Net]) -> None:
    estimator = Estimator(build, loss)
    for size in ((2, 32), (1, 8), (4, 64)):
        assert same(estimator(tokens(*size)), real(build, tokens(*size)))


def test_the_report_says_that_nothing_was_measured() -> None:
    assert estimate(Net, tokens(), loss).source == "ledger of fake storages"


def test_no_model_is_too_large() -> None:
    weight = 2**20 * 2**20 * 4  # four tebibytes
    report = estimate(
        lambda: nn.Linear(2**20, 2**20, bias=False),
        lambda: torch.zeros(1, 2**20),
        lambda linear, x: linear(x).sum(),
    )
    assert report.kinds["parameters"] == weight
    assert report.kinds["optimizer"] == 2 * weight + 4


def test_a_step_without_an_optimizer_has_no_state() -> None:
    report = estimate(Net, tokens(), loss, optimizer=None)
    assert report.kinds["optimizer"] == 0
    assert report.kinds["gradients"] > 0


def test_another_optimizer_counts_what_it_holds() -> None:
    report = estimate(
        Net, tokens(), loss, optimizer=lambda parameters: torch.optim.SGD(parameters, lr=1.0)
    )
    assert report.kinds["optimizer"] == 0


def test_a_step_that_reads_values_is_refused_and_the_next_one_is_not() -> None:
    reads = True

    def perhaps_reading(net: Net, batch: Tensor) -> Tensor:
        found = loss(net, batch)
        return found * found.item() if reads else found

    estimator = Estimator(Net, perhaps_reading)
    with pytest.raises(InputError) as refusal:
        estimator(tokens())
    assert str(refusal.value) == (
        "loss (aten._local_scalar_dense.default) must not depend on the values of tensors, which "
        "an estimate does not have; leave such operations out of it"
    )
    reads = False
    assert same(estimator(tokens()), real(Net, tokens()))


def test_a_model_is_built_from_short_sequences_and_filled_within_bounds() -> None:
    rates: list[float] = []

    def build() -> nn.Linear:
        for part in (torch.linspace(0, 0.2, 5) * 2).split([1, 4]):
            rates.extend(part.tolist())
        linear = nn.Linear(32, 32)
        nn.init.trunc_normal_(linear.weight)
        return linear

    report = estimate(build, lambda: torch.zeros(8, 32), lambda net, x: net(x).sum())
    assert rates == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
    assert report.kinds["parameters"] == 32 * 33 * 4


def test_a_model_that_is_built_from_values_is_refused() -> None:
    def build() -> nn.Linear:
        return nn.Linear(4, int(nn.Linear(4, 4).weight.sum().item()))

    with pytest.raises(InputError) as refusal:
        estimate(build, lambda: torch.zeros(1, 4), lambda linear, x: linear(x).sum())
    assert str(refusal.value) == (
        "build (aten._local_scalar_dense.default) must not depend on the values of tensors, which "
        "an estimate does not have; leave such operations out of it"
    )


def test_parameters_that_get_no_gradient_have_no_state() -> None:
    def upper(net: nn.ModuleList, x: Tensor) -> Tensor:
        found: Tensor = net[1](x).sum()
        return found

    report = estimate(
        lambda: nn.ModuleList(nn.Linear(8, 8, bias=False) for _ in range(2)),
        lambda: torch.zeros(1, 8),
        upper,
    )
    assert report.kinds["optimizer"] == 2 * 8 * 8 * 4 + 4


def test_what_a_model_makes_once_and_keeps_is_made_before() -> None:
    class Caching(nn.Module):
        kept: Tensor | None = None

        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(8))

        def forward(self, x: Tensor) -> Tensor:
            if self.kept is None:
                self.kept = (torch.ones(1000) * 2)[:8]
            return self.weight * self.kept * x

    def summed(net: Caching, x: Tensor) -> Tensor:
        found: Tensor = net(x).sum()
        return found

    report = estimate(Caching, lambda: torch.zeros(8), summed)
    assert report.kinds["other"] == 1000 * 4 + 8 * 4


def test_real_models_run_as_before_afterwards() -> None:
    estimate(Net, tokens(), loss)
    net = Net()
    loss(net, tokens()()).backward()
    assert all(type(parameter) is nn.Parameter for parameter in net.parameters())


class Operations(TorchDispatchMode):
    """The names of the operations that run."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch leaves it without types
        self.names: set[str] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        self.names.add(str(func))
        return func(*args, **kwargs or {})


@pytest.mark.parametrize("mask", [None, torch.bool, torch.float32])
def test_attention_is_estimated_by_the_kernel_that_the_documentation_names(
    mask: torch.dtype | None,
) -> None:
    assumed = "_scaled_dot_product_flash_attention_for_cpu"
    assert assumed in (Estimator.__doc__ or "")
    operations = Operations()

    def attend(linear: nn.Linear, x: Tensor) -> Tensor:
        q = linear(x)
        rows = None if mask is None else torch.ones(1, 1, 8, 8, dtype=mask)
        with operations:
            return F.scaled_dot_product_attention(q, q, q, attn_mask=rows).sum()

    estimate(lambda: nn.Linear(16, 16), lambda: torch.zeros(1, 2, 8, 16), attend)
    assert f"aten.{assumed}.default" in operations.names


def test_unique_values_count_as_if_none_came_twice() -> None:
    def lookup(embedding: nn.Embedding, batch: Tensor) -> Tensor:
        rows, inverse = batch.unique(return_inverse=True)
        looked_up: Tensor = embedding(rows)[inverse].sum()
        return looked_up

    batch = torch.arange(12).view(3, 4)
    embedding = nn.Embedding(100, 8)
    with ledger(embedding) as reading:
        lookup(embedding, batch).backward()
    estimated = estimate(
        lambda: nn.Embedding(100, 8),
        lambda: torch.zeros(3, 4, dtype=torch.long),
        lookup,
        optimizer=None,
    )
    assert estimated.peak == reading.report.peak
