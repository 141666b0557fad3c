"""The books of a step: are they right, and is every byte in them once?"""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from memory.profiled import profiled_peak
from tokenseek_common import InputError
from tokenseek_common.memory import MemoryReport, ledger

torch.set_num_threads(1)

Step = Callable[[], None]


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        hidden: Tensor = x + self.down(F.silu(self.up(self.norm(x))))
        return hidden


class Net(nn.Module):
    scale: Tensor

    def __init__(self, *, checkpointed: bool = False, width: int = 32) -> None:
        super().__init__()
        self.checkpointed = checkpointed
        self.blocks = nn.ModuleList(Block(width) for _ in range(3))
        self.head = nn.Linear(width, 10)
        self.register_buffer("scale", torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        x = x * self.scale
        for block in self.blocks:
            if self.checkpointed and torch.is_grad_enabled():
                # torch keeps random states where no profiler of operations can see them
                x = checkpoint(block, x, use_reentrant=False, preserve_rng_state=False)
            else:
                x = block(x)
        logits: Tensor = self.head(x)
        return logits


def freeze_all_but_the_last_block(net: Net) -> None:
    for name, parameter in net.named_parameters():
        parameter.requires_grad = name.startswith("blocks.2")


def make_step(
    *,
    checkpointed: bool = False,
    frozen: bool = False,
    scored: bool = False,
    probed: bool = False,
    replaced: bool = False,
) -> tuple[Net, torch.optim.Optimizer, Step]:
    torch.manual_seed(0)
    net = Net(checkpointed=checkpointed)
    if frozen:
        freeze_all_but_the_last_block(net)
    if replaced:
        first: Any = net.blocks[0]
        first.forward = lambda x: x + first.down(torch.relu(first.up(x)))
    trainable = [parameter for parameter in net.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trainable, fused=True)
    batch = torch.randn(8, 16, 32)

    def step() -> None:
        if scored:
            with torch.no_grad():
                net(batch)
        if probed:
            hidden = batch.detach().clone().requires_grad_()
            torch.autograd.grad(net.blocks[2](hidden).sum(), hidden)
            del hidden
        net(batch).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    return net, optimizer, step


SCENARIOS: dict[str, dict[str, bool]] = {
    "plain": {},
    "checkpointed": {"checkpointed": True},
    "frozen": {"frozen": True},
    "replaced forward": {"replaced": True},
    "run twice": {"scored": True},
    "run twice, checkpointed": {"scored": True, "checkpointed": True},
    "probed in the middle": {"scored": True, "probed": True, "checkpointed": True},
    "all at once": dict.fromkeys(("checkpointed", "frozen", "scored", "probed", "replaced"), True),
}
each_scenario = pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)


def measured(net: nn.Module, optimizer: torch.optim.Optimizer, step: Step) -> MemoryReport:
    step()
    with ledger(net, optimizer) as reading:
        step()
    return reading.report


@each_scenario
def test_the_peak_is_that_of_the_profiler(scenario: dict[str, bool]) -> None:
    net, optimizer, step = make_step(**scenario)
    report = measured(net, optimizer, step)

    assert report.unseen is not None
    assert report.added - report.kinds["other"] + report.unseen == profiled_peak(step)


@each_scenario
def test_every_byte_has_one_kind_and_one_module(scenario: dict[str, bool]) -> None:
    net, optimizer, step = make_step(**scenario)
    report = measured(net, optimizer, step)

    assert sum(report.kinds.values()) == report.peak
    for kind, size in report.kinds.items():
        assert sum(kinds.get(kind, 0) for kinds in report.modules.values()) == size
    assert set(report.modules) <= {name for name, _ in net.named_modules()} | {"(outside)"}


@pytest.mark.slow
@each_scenario
def test_fake_storages_give_the_same_numbers(scenario: dict[str, bool]) -> None:
    from torch._subclasses import FakeTensorMode

    real = measured(*make_step(**scenario))
    with FakeTensorMode():
        fake = measured(*make_step(**scenario))

    assert fake.source == "ledger of fake storages"
    assert fake.unseen is None
    assert dataclasses.replace(fake, source=real.source, unseen=real.unseen) == real


def test_the_kinds_of_a_linear_step_are_known() -> None:
    linear = nn.Linear(64, 32, bias=False)
    optimizer = torch.optim.AdamW(linear.parameters(), fused=True)
    batch = torch.randn(4, 64)

    def step() -> None:
        linear(batch).sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    report = measured(linear, optimizer, step)

    weight, scalar = 64 * 32 * 4, 4
    assert report.kinds == {
        "parameters": weight,
        "gradients": weight,
        "optimizer": 2 * weight + scalar,  # two averages and the count of steps
        "activations": 2 * scalar,  # the loss, and the one that its backward starts from
        "temporaries": 0,
        "buffers": 0,
        "other": 4 * 64 * 4,
    }
    assert report.live_before == 3 * weight + scalar
    assert report.modules[""] == {
        "parameters": weight,
        "gradients": weight,
        "optimizer": 2 * weight + scalar,
    }


def test_working_memory_is_highest_at_an_instant_of_its_own() -> None:
    # the scoring pass needs most and leaves nothing; all the gradients are there only at the end
    net = nn.Sequential(*(nn.Linear(256, 256, bias=False) for _ in range(6)))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    batch = torch.randn(512, 256)
    few = batch[:1].clone()

    def step() -> None:
        with torch.no_grad():
            net(batch)
        net(few).sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    report = measured(net, optimizer, step)

    weights = 6 * 256 * 256 * 4
    hidden = 512 * 256 * 4
    assert report.working == 3 * hidden  # the batch, a layer's input and its output
    assert report.working_kinds["other"] == hidden
    assert report.working_kinds["activations"] == 2 * hidden
    assert report.working_kinds["gradients"] == 0
    assert report.kinds["gradients"] == weights * 5 // 6  # the last one has not landed yet
    assert report.peak > weights + report.working


def test_gradients_that_were_asked_for_are_temporaries() -> None:
    linear = nn.Linear(64, 64, bias=False)
    with ledger(linear) as reading:
        gradients = torch.autograd.grad(linear(torch.ones(1, 64)).sum(), [linear.weight])
    assert reading.report.kinds["gradients"] == 0
    assert reading.report.kinds["temporaries"] == gradients[0].nbytes


def test_a_gradient_that_waits_for_its_step_counts_from_the_start() -> None:
    linear = nn.Linear(64, 64, bias=False)
    linear(torch.ones(1, 64)).sum().backward()
    with ledger(linear) as reading:
        pass
    assert reading.report.live_before == reading.report.peak == 2 * 64 * 64 * 4
    assert reading.report.kinds["gradients"] == 64 * 64 * 4
    assert reading.report.working == 0


def test_temporaries_of_the_optimizer_are_not_its_state() -> None:
    linear = nn.Linear(64, 64, bias=False)
    optimizer = torch.optim.AdamW(linear.parameters(), foreach=True)
    report = measured(linear, optimizer, _only_the_optimizer(linear, optimizer))

    assert report.kinds["optimizer"] == 2 * 64 * 64 * 4 + 4
    assert report.kinds["temporaries"] >= 64 * 64 * 4


def test_the_first_step_makes_the_state() -> None:
    linear = nn.Linear(64, 64, bias=False)
    optimizer = torch.optim.AdamW(linear.parameters(), fused=True)
    step = _only_the_optimizer(linear, optimizer)
    with ledger(linear) as reading:
        step()
    assert reading.report.live_before == 64 * 64 * 4
    assert reading.report.kinds["optimizer"] == 2 * 64 * 64 * 4 + 4
    assert reading.report.working == 64 * 64 * 4  # the gradient, made by hand


def _only_the_optimizer(linear: nn.Linear, optimizer: torch.optim.Optimizer) -> Step:
    def step() -> None:
        linear.weight.grad = torch.ones_like(linear.weight)
        optimizer.step()
        optimizer.zero_grad()

    return step


def test_a_tied_parameter_counts_once_under_its_first_name() -> None:
    net = nn.Sequential(nn.Embedding(50, 8), nn.Linear(8, 50, bias=False))
    net[1].weight = net[0].weight
    with ledger(net) as reading:
        net(torch.tensor([1, 2])).sum().backward()
    assert reading.report.kinds["parameters"] == 50 * 8 * 4
    assert reading.report.modules["0"]["parameters"] == 50 * 8 * 4


def test_gradients_of_activations_count_to_the_module_whose_backward_runs() -> None:
    net = nn.Sequential(nn.Linear(4, 512), nn.ReLU(), nn.Linear(512, 1))
    with ledger(net) as reading:
        net(torch.ones(256, 4)).sum().backward()
    # the peak: what enters the first layer's backward is made by the ReLU's
    assert reading.report.modules["1"] == {
        "activations": 256 * 512 * 4,
        "temporaries": 256 * 512 * 4,
    }


def test_sparse_gradients_count() -> None:
    embedding = nn.Embedding(50, 8, sparse=True)
    tokens = torch.tensor([1, 2])
    with ledger(embedding) as reading:
        embedding(tokens).sum().backward()
    before_and_tokens = 50 * 8 * 4 + tokens.nbytes
    assert reading.report.live - before_and_tokens == 2 * 8 * 4 + tokens.nbytes


def test_gradients_that_torch_func_computes_are_in_the_books() -> None:
    linear = nn.Linear(64, 32, bias=False)
    parameters = {"weight": linear.weight.detach()}

    def summed(parameters: dict[str, Tensor], x: Tensor) -> Tensor:
        found: Tensor = torch.func.functional_call(linear, parameters, (x,)).sum()
        return found

    with ledger(linear) as reading:
        whole = torch.func.grad(summed)(parameters, torch.ones(4, 64))
        each = torch.func.vmap(torch.func.grad(summed), in_dims=(None, 0))(
            parameters, torch.ones(4, 64)
        )
    kept = whole["weight"].nbytes + each["weight"].nbytes
    assert each["weight"].shape == (4, 32, 64)
    assert reading.report.kinds["parameters"] == 64 * 32 * 4
    assert reading.report.live == 64 * 32 * 4 + kept


@pytest.mark.parametrize(
    ("model", "optimizer", "expected"),
    [
        (
            "net",
            None,
            "model (str) must be an nn.Module; pass the module whose parameters the step trains",
        ),
        (
            nn.Linear(2, 2),
            [],
            "optimizer (list) must be one torch.optim.Optimizer; pass one, the state of others "
            "counts from their step on",
        ),
        (
            nn.Sequential(nn.LazyLinear(2)),
            None,
            "model (0.weight has no shape yet) must have all its parameters; run a batch through "
            "it before the block",
        ),
    ],
)
def test_what_no_books_can_be_kept_of_is_refused(model: Any, optimizer: Any, expected: str) -> None:
    with pytest.raises(InputError) as refusal, ledger(model, optimizer):
        pass
    assert str(refusal.value) == expected


@pytest.mark.slow
@pytest.mark.parametrize("whole", [True, False])
def test_a_compiled_module_is_refused(whole: bool) -> None:
    net: Any = nn.Sequential(nn.Linear(2, 2))
    if whole:
        net = torch.compile(net)
    else:
        net[0].compile()
    with pytest.raises(InputError) as refusal, ledger(net):
        pass
    assert str(refusal.value) == (
        f"model ({'itself' if whole else '0'} is compiled) must run eagerly, since compiled code "
        "allocates where nobody sees it; keep the books of the module before torch.compile"
    )


def test_a_sum_that_falls_in_the_middle_is_not_forgotten() -> None:
    linear = nn.Linear(4, 4, bias=False)
    with ledger(linear) as reading:
        large = torch.ones(1000)
        del large
        small = torch.ones(10)
    assert reading.report.peak == 4 * 4 * 4 + 1000 * 4
    assert reading.report.live_kinds["activations"] == small.nbytes
