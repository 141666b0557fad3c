"""What autograd keeps: each storage once, and no longer than it does."""

import gc
import weakref

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tokenseek_common.memory import saved_for_backward

torch.set_num_threads(1)

BATCH = torch.randn(16, 4)
INPUT = 16 * 4 * 4
HIDDEN = 16 * 8 * 4


def make_mlp() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))


def test_an_mlp_keeps_its_input_and_its_hidden_state() -> None:
    mlp = make_mlp()
    with saved_for_backward() as reading:
        loss = mlp(BATCH).sum()
    # the hidden state is saved twice, by the ReLU and by the second layer
    assert (reading.report.live, reading.report.peak) == (INPUT + HIDDEN, INPUT + HIDDEN)
    assert reading.report.working is None
    assert reading.report.device == "cpu"
    loss.backward()


def test_after_backward_nothing_is_kept() -> None:
    mlp = make_mlp()
    with saved_for_backward() as reading:
        mlp(BATCH).sum().backward()
    assert (reading.report.live, reading.report.peak) == (0, INPUT + HIDDEN)


def test_a_retained_graph_is_kept() -> None:
    loss = None
    with saved_for_backward() as reading:
        loss = make_mlp()(BATCH).sum()
        loss.backward(retain_graph=True)
    assert reading.report.live == INPUT + HIDDEN


def test_a_larger_graph_that_is_freed_first_makes_the_peak_and_not_the_rest() -> None:
    mlp = make_mlp()
    with saved_for_backward() as reading:
        mlp(torch.randn(160, 4)).sum().backward()
        loss = mlp(BATCH).sum()
    assert (reading.report.live, reading.report.peak) == (INPUT + HIDDEN, 10 * (INPUT + HIDDEN))
    del loss


def test_storages_at_a_used_address_are_neither_merged_nor_added_up() -> None:
    with saved_for_backward() as reading:
        for _ in range(20):
            x = torch.randn(1024, requires_grad=True) * 1
            kept = x.exp().sum()
            del x
    # the product has no saved tensor, its exponential is saved
    assert (reading.report.live, reading.report.peak) == (4096, 2 * 4096)
    del kept


@pytest.mark.parametrize("with_model", [False, True])
def test_frozen_parameters_do_not_count(with_model: bool) -> None:
    linear = nn.Linear(8, 8).requires_grad_(False)
    x = torch.randn(2, 8, requires_grad=True)
    with saved_for_backward(linear if with_model else None) as reading:
        loss = linear(x).sum()
    assert reading.report.live == 0
    del loss


def test_buffers_count_only_without_the_model() -> None:
    class Scaled(nn.Module):
        scale: Tensor

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("scale", torch.ones(8))

        def forward(self, x: Tensor) -> Tensor:
            return x * self.scale

    scaled, x = Scaled(), torch.randn(2, 8, requires_grad=True)
    kept = []
    with saved_for_backward() as without:
        kept.append(scaled(x))
    with saved_for_backward(scaled) as with_model:
        kept.append(scaled(x))
    assert (without.report.live, with_model.report.live) == (32, 0)


def test_a_view_counts_with_its_whole_storage() -> None:
    whole = torch.randn(64, 8)
    weight = torch.randn(8, requires_grad=True)
    with saved_for_backward() as reading:
        loss = (whole[:1] * weight).sum()
    assert reading.report.live == whole.nbytes
    del loss


def test_sparse_tensors_count_by_their_parts() -> None:
    matrix = torch.eye(4).to_sparse()
    x = torch.randn(4, 3, requires_grad=True)
    with saved_for_backward() as reading:
        product = torch.sparse.mm(matrix, x)
    assert reading.report.live == 4 * 4 + 2 * 4 * 8  # values, and two indices each
    del product


def test_checkpointing_leaves_the_inputs_of_the_blocks() -> None:
    block = nn.Sequential(nn.Linear(4, 64), nn.ReLU(), nn.Linear(64, 4))
    x = torch.randn(16, 4, requires_grad=True) * 2
    with saved_for_backward() as reading:
        hidden = checkpoint(block, x, use_reentrant=False)
        output = checkpoint(block, hidden, use_reentrant=False)
    assert reading.report.live == 2 * INPUT
    assert isinstance(output, Tensor)
    torch.autograd.backward(output.sum())


def test_lifetimes_are_those_without_the_diagnostic() -> None:
    gc.disable()
    try:
        with saved_for_backward() as reading:
            x = torch.randn(8, requires_grad=True)
            y = x.exp()  # an output that its own node saves
            storage = weakref.ref(y.untyped_storage())
            del y
            assert storage() is None
    finally:
        gc.enable()
    assert (reading.report.live, reading.report.peak) == (0, 32)


def test_gradients_are_the_same_bits_as_without() -> None:
    plain, watched = make_mlp(), make_mlp()
    plain(BATCH).square().mean().backward()
    with saved_for_backward(watched):
        watched(BATCH).square().mean().backward()
    for one, other in zip(plain.parameters(), watched.parameters(), strict=True):
        assert one.grad is not None
        assert other.grad is not None
        assert torch.equal(one.grad, other.grad)


def test_second_derivatives_pass_through() -> None:
    x = torch.tensor(3.0, requires_grad=True)
    with saved_for_backward():
        (slope,) = torch.autograd.grad(x**3, x, create_graph=True)
        torch.autograd.backward(slope)
    assert x.grad is not None
    assert x.grad.item() == 18.0


def test_a_block_must_not_nest() -> None:
    with (
        saved_for_backward(),
        pytest.raises(
            RuntimeError,
            match=r"^saved_for_backward \(already open\) must not be nested, because only the "
            r"innermost saved-tensor hooks run; leave the outer block first$",
        ),
        saved_for_backward(),
    ):
        pass


def test_a_block_that_raised_is_closed() -> None:
    with pytest.raises(ZeroDivisionError), saved_for_backward() as first:
        _ = 1 / 0
    with saved_for_backward() as second:
        pass
    assert first.report == second.report
    assert second.report.device == "none"
