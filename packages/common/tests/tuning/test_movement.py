from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tokenseek_common import InputError, RunError
from tokenseek_common.tuning import MovementCheck, MovementReport

torch.set_num_threads(1)


class Net(nn.Module):
    """Two experts of which the first alone is used, and a low-rank pair that starts at zero."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.experts = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])
        self.a = nn.Linear(4, 2, bias=False)
        self.b = nn.Linear(2, 4, bias=False)
        nn.init.zeros_(self.b.weight)

    def forward(self, x: Tensor) -> Tensor:
        hidden: Tensor = self.experts[0](x)
        hidden = hidden + self.b(self.a(x))
        return hidden.square().sum()


def sgd(net: nn.Module, **settings: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(net.parameters(), **{"lr": 0.01} | settings)


def train(net: Net, optimizer: torch.optim.Optimizer, steps: int, accumulate: int = 1) -> None:
    for step in range(steps * accumulate):
        net(torch.ones(1, 4) + step).backward()
        if (step + 1) % accumulate == 0:
            optimizer.step()
            optimizer.zero_grad()


def found(net: Net, optimizer: torch.optim.Optimizer, steps: int = 3, **settings: Any) -> Any:
    """The report of a check that is told of failures by nobody but itself."""
    check = MovementCheck(net, optimizer, steps=steps, on_failure=lambda _: None, **settings)
    train(net, optimizer, steps)
    assert check.report is not None
    return check.report


EXPERT = {"experts.1.weight": "a gradient", "experts.1.bias": "a gradient"}


def test_a_tensor_without_a_gradient_is_found_and_the_others_are_not() -> None:
    net = Net()
    assert found(net, sgd(net)) == MovementReport(steps=3, tensors=6, still=EXPERT)


def test_experts_that_may_rest_are_exempt() -> None:
    net = Net()
    report = found(net, sgd(net), exempt=["experts.1.*"])
    assert report == MovementReport(steps=3, tensors=4, still={})


def test_a_factor_of_one_that_starts_at_zero_needs_a_second_step() -> None:
    exempt = ["experts.1.*"]
    net = Net()
    one = found(net, sgd(net), steps=1, exempt=exempt)
    assert one.still == {"a.weight": "a gradient other than zero"}
    net = Net()
    assert not found(net, sgd(net), steps=2, exempt=exempt).still


def test_decay_alone_is_no_training() -> None:
    net = Net()
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.01, weight_decay=0.5)
    check = MovementCheck(net, optimizer, steps=2, on_failure=lambda _: None)
    unused = list(net.experts[1].parameters())
    before = [parameter.clone() for parameter in unused]
    for _ in range(2):
        (net(torch.ones(1, 4)) + 0 * torch.stack([p.sum() for p in unused]).sum()).backward()
        optimizer.step()
        optimizer.zero_grad()
    assert not any(torch.equal(new, old) for new, old in zip(unused, before, strict=True))
    assert check.report is not None
    assert check.report.still == dict.fromkeys(EXPERT, "a gradient other than zero")


def test_what_the_optimizer_was_not_given_is_found() -> None:
    net = Net()
    optimizer = torch.optim.SGD([*net.experts.parameters(), net.a.weight], lr=0.01)
    report = found(net, optimizer, steps=2, exempt=["experts.1.*", "a.*"])
    assert report.still == {"b.weight": "a place in the optimizer"}


def test_gradients_that_are_not_finite_are_found() -> None:
    net = Net()
    net.a.weight.register_hook(lambda gradient: gradient * float("nan"))
    report = found(net, sgd(net), steps=1, exempt=["experts.1.*"])
    assert report.still == {"a.weight": "a finite gradient"}


def test_steps_too_small_for_the_digits_of_a_weight_are_found() -> None:
    net = Net().bfloat16()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.fill_(1.0)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-5, weight_decay=0.0)
    check = MovementCheck(net, optimizer, steps=2, exempt=["experts.1.*"], on_failure=print)
    for _ in range(2):
        net(torch.ones(1, 4, dtype=torch.bfloat16)).backward()
        optimizer.step()
    assert check.report is not None
    assert set(check.report.still.values()) == {"a change: gradients are there"}
    assert len(check.report.still) == 4


def test_gradients_may_be_accumulated_and_frozen_tensors_are_not_looked_at() -> None:
    net = Net()
    net.experts[1].requires_grad_(False)
    optimizer = sgd(net)
    with MovementCheck(net, optimizer, steps=2, on_failure="error") as check:
        train(net, optimizer, steps=1, accumulate=3)
        assert check.report is None
        train(net, optimizer, steps=1, accumulate=3)
    assert check.report == MovementReport(steps=2, tensors=4, still={})


def test_a_failure_is_warned_of_or_raised_with_its_table() -> None:
    net = Net()
    told = (
        r"^trainable tensors \(2 of 6 not trained in 2 steps\) must all have a finite gradient and "
        r"move; freeze what is not to be trained\n"
        r"parameters +tensors  what is missing\n"
        r"experts\.\*\.weight +1 +a gradient\n"
        r"experts\.\*\.bias +1 +a gradient$"
    )
    optimizer = sgd(net)
    MovementCheck(net, optimizer, steps=2)
    with pytest.warns(UserWarning, match=told):
        train(net, optimizer, steps=2)
    MovementCheck(net, optimizer, steps=2, on_failure="error")
    with pytest.raises(RunError, match=told):
        train(net, optimizer, steps=2)


def test_layers_are_one_line_of_the_table() -> None:
    still = {f"layers.{i}.norm2.weight": "a gradient" for i in range(3)}
    report = MovementReport(steps=5, tensors=9, still=still)
    assert report.cells() == (
        "Not trained in 5 steps",
        ["parameters", "tensors", "what is missing"],
        [["layers.*.norm2.weight", 3, "a gradient"]],
    )


def test_the_check_leaves_no_trace() -> None:
    net = Net()
    optimizer = sgd(net)
    weight = weakref.ref(net.a.weight)
    generator = torch.get_rng_state()
    check = MovementCheck(net, optimizer, steps=1, on_failure=lambda _: None)
    assert torch.equal(torch.get_rng_state(), generator)
    train(net, optimizer, steps=1)
    assert not optimizer._optimizer_step_post_hooks
    with MovementCheck(net, optimizer, steps=9):
        train(net, optimizer, steps=1)
    assert not optimizer._optimizer_step_post_hooks
    assert not any(p._post_accumulate_grad_hooks or p._backward_hooks for p in net.parameters())
    del net, optimizer
    gc.collect()
    assert weight() is None
    assert check.report is not None


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_a_change_of_a_single_last_digit_anywhere_is_seen(dtype: torch.dtype) -> None:
    net = nn.ParameterList([nn.Parameter(torch.ones(3, 2**20 // 2, dtype=dtype))])
    optimizer = torch.optim.SGD(net.parameters(), lr=1.0)
    with MovementCheck(net, optimizer, steps=1, on_failure="error"):
        net[0].grad = torch.zeros_like(net[0])
        net[0].grad[2, -1] = torch.finfo(dtype).eps
        optimizer.step()
    assert net[0][2, -1] != 1


def test_changes_that_cancel_and_values_that_change_places_are_seen() -> None:
    net = nn.ParameterList([nn.Parameter(torch.tensor([1.0, 1.5, 1.5, 1.0]))])
    optimizer = torch.optim.SGD(net.parameters(), lr=1.0)
    with MovementCheck(net, optimizer, steps=1, on_failure="error"):
        net[0].grad = torch.tensor([-0.5, 0.5, 0.5, -0.5])
        optimizer.step()
    assert net[0].tolist() == [1.5, 1.0, 1.0, 1.5]


def test_sparse_gradients_and_complex_weights_are_looked_at() -> None:
    net = nn.ModuleDict({"embed": nn.Embedding(5, 2, sparse=True)})
    net.turn = nn.Parameter(torch.ones(2, dtype=torch.complex64))
    optimizer = sgd(net)
    with MovementCheck(net, optimizer, steps=1, on_failure="error") as check:
        (net["embed"](torch.tensor([1])) * net.turn).abs().sum().backward()
        optimizer.step()
    assert check.report == MovementReport(steps=1, tensors=2, still={})


def test_an_empty_tensor_cannot_move_and_need_not() -> None:
    net = nn.ParameterList([nn.Parameter(torch.empty(0)), nn.Parameter(torch.ones(1))])
    optimizer = sgd(net)
    check = MovementCheck(net, optimizer, steps=1, on_failure="error")
    net[1].sum().backward()
    optimizer.step()
    assert check.report == MovementReport(steps=1, tensors=1, still={})


def test_an_optimizer_inside_a_wrapper_is_found() -> None:
    net = Net()
    inner = sgd(net)
    wrapper: Any = type("Wrapper", (), {"optimizer": inner})()
    check = MovementCheck(net, wrapper, steps=2, exempt=["experts.1.*"])
    train(net, inner, steps=2)
    assert check.report == MovementReport(steps=2, tensors=4, still={})


@pytest.mark.parametrize(
    ("device", "settings", "told"),
    [
        ("cpu", {"steps": 0}, r"^steps \(0\) must be at least 1; 5 are usual$"),
        (
            "cpu",
            {"exempt": ["expert.*"]},
            r"^pattern \(expert\.\*\) must match one of 6 names, such as experts\.0\.weight; ",
        ),
        (
            "meta",
            {},
            r"^experts\.0\.weight \(on meta\) must have values to be trained; load them before$",
        ),
    ],
)
def test_what_cannot_be_checked_is_refused(
    device: str, settings: dict[str, Any], told: str
) -> None:
    net = Net().to(device)
    optimizer = sgd(net)
    with pytest.raises(InputError, match=told):
        MovementCheck(net, optimizer, **settings)
    assert not optimizer._optimizer_step_post_hooks
