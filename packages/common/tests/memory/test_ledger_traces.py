"""What a ledger leaves behind: a report, and nothing else."""

import dataclasses
import gc
import weakref
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.modules import module as module_hooks
from torch.utils.checkpoint import checkpoint

from tokenseek_common.memory import ledger

torch.set_num_threads(1)


def make_net() -> nn.Sequential:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 4))
    net[0].bias.requires_grad = False
    return net


def hooks_of(net: nn.Module) -> list[object]:
    hooks: list[object] = []
    for module in net.modules():
        hooks += [dict(module._forward_hooks), dict(module._forward_pre_hooks)]
        hooks += [dict(module._backward_hooks), sorted(vars(module))]
    for parameter in net.parameters():
        hooks += [parameter._backward_hooks, parameter._post_accumulate_grad_hooks]
    hooks += [dict(module_hooks._global_forward_hooks)]
    hooks += [dict(module_hooks._global_forward_pre_hooks)]
    return hooks


@pytest.mark.parametrize("checkpointed", [False, True])
def test_gradients_are_the_same_bits_as_without(checkpointed: bool) -> None:
    batch = torch.randn(5, 8)

    def gradients(net: nn.Sequential) -> list[torch.Tensor]:
        with torch.no_grad():
            net(batch)
        output = checkpoint(net, batch, use_reentrant=False) if checkpointed else net(batch)
        assert isinstance(output, torch.Tensor)
        torch.autograd.backward(output.square().mean())
        return [p.grad for p in net.parameters() if p.grad is not None]

    plain = gradients(make_net())
    with ledger(net := make_net()):
        watched = gradients(net)

    assert len(plain) == 3
    assert all(torch.equal(one, other) for one, other in zip(plain, watched, strict=True))


def test_the_model_is_left_as_it_was_found() -> None:
    net = make_net()
    before = hooks_of(net)
    with ledger(net):
        net(torch.ones(2, 8)).sum().backward()
    assert hooks_of(net) == before


def test_the_model_is_left_as_it_was_found_by_a_block_that_raises() -> None:
    net = make_net()
    before = hooks_of(net)

    def interrupted_step() -> None:
        net(torch.ones(2, 8)).sum().backward()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), ledger(net) as reading:
        interrupted_step()
    assert hooks_of(net) == before
    assert reading.report.kinds["gradients"] > 0


def test_neither_the_model_nor_its_parameters_are_referred_to_after_the_block() -> None:
    net = make_net()
    alive = weakref.ref(net)
    gc.disable()
    try:
        with ledger(net):
            net(torch.ones(2, 8)).sum().backward()
        assert all(weakref.getweakrefcount(parameter) == 0 for parameter in net.parameters())
        del net
        assert alive() is None
    finally:
        gc.enable()


def test_hooks_of_others_stay() -> None:
    net = make_net()
    weight: Any = net[2].weight
    bias: Any = net[2].bias
    seen = []
    bias.register_post_accumulate_grad_hook(lambda _: seen.append("before"))
    with ledger(net):
        weight.register_post_accumulate_grad_hook(lambda _: seen.append("inside"))
        net(torch.ones(2, 8)).sum().backward()
    net(torch.ones(2, 8)).sum().backward()
    assert sorted(seen) == ["before", "before", "inside", "inside"]


def test_a_graph_may_outlive_the_block() -> None:
    net = make_net()
    with ledger(net):
        loss = net(torch.ones(2, 8)).sum()
    loss.backward()
    assert net[2].weight.grad is not None


def test_a_gradient_that_its_own_hook_uses_up_is_no_trouble() -> None:
    net = nn.Linear(8, 8, bias=False)

    def use_up(weight: torch.Tensor) -> None:
        weight.grad = None

    weight: Any = net.weight
    weight.register_post_accumulate_grad_hook(use_up)
    with ledger(net) as reading:
        net(torch.ones(2, 8)).sum().backward()
    assert reading.report.kinds["gradients"] == 0


def test_a_module_that_raises_is_not_held_to_run_on() -> None:
    class Raising(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise ValueError("no")

    net = nn.ModuleDict({"raising": nn.Sequential(Raising()), "linear": nn.Linear(4, 64)})
    with ledger(net) as reading:
        with pytest.raises(ValueError, match="no"):
            net["raising"](torch.ones(1, 4))
        outputs = net["linear"](torch.ones(256, 4))
        twice = outputs * 2
    assert reading.report.modules["linear"]["activations"] == outputs.nbytes
    assert reading.report.modules["(outside)"]["activations"] >= twice.nbytes


def test_a_parameter_that_is_thawed_in_the_block_is_watched() -> None:
    net = make_net()
    bias = net[0].bias
    with ledger(net) as reading:
        bias.requires_grad = True
        net(torch.ones(2, 8)).sum().backward()
    assert reading.report.kinds["gradients"] > 0
    assert reading.report.live - reading.report.live_before == reading.report.live_before
    assert bias._post_accumulate_grad_hooks is None


def test_blocks_may_nest() -> None:
    net = make_net()
    before = hooks_of(net)
    with ledger(net) as outer, ledger(net) as inner:
        net(torch.ones(2, 8)).sum().backward()
    # one profiler at a time looks inside kernels
    assert dataclasses.replace(outer.report, unseen=0) == inner.report
    assert hooks_of(net) == before


def test_the_report_must_wait_for_the_end_of_the_block() -> None:
    with (
        ledger(nn.Linear(2, 2)) as reading,
        pytest.raises(RuntimeError, match=r"report \(unfinished\) must be read after the block"),
    ):
        _ = reading.report
    assert reading.report.device == "cpu"


def test_a_model_without_parameters_is_on_the_cpu() -> None:
    with ledger(nn.ReLU()) as reading:
        nn.ReLU()(torch.ones(8))
    assert (reading.report.device, reading.report.kinds["activations"]) == ("cpu", 64)
