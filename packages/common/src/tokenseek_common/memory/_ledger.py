"""Bytes of one training step, by kind and by module."""

import contextlib
from collections.abc import Iterator

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from tokenseek_common._errors import InputError
from tokenseek_common.memory._measure import measure
from tokenseek_common.memory._reading import Reading
from tokenseek_common.memory._report import MemoryReport
from tokenseek_common.memory._tracker import StepTracker


@contextlib.contextmanager
def ledger(
    model: nn.Module,
    optimizer: torch.optim.Optimizer | None = None,
    *,
    timeline: bool = False,
) -> Iterator[Reading]:
    """Keeps the books of one training step: who holds which bytes, when most are held.

    Every storage on the model's device has one of these kinds:

    - ``parameters``, ``gradients``, ``buffers``: those of the model. A gradient counts as one
      when it has landed in ``.grad``. While autograd still gathers it, it is a temporary; so
      the last one often is at the instant of the peak.
    - ``optimizer``: the optimizer's state, not the temporaries of its step.
    - ``activations``: made by a forward, recorded for backward or not, recomputed or not; and
      what is made between modules with gradients on, such as the loss.
    - ``temporaries``: made by a backward pass, by the optimizer's step, or between modules with
      gradients off.
    - ``other``: made before the block, such as the batch; it counts from its first use on.

    ``working`` is the largest value over the whole step of the total without parameters,
    gradients and optimizer state. It counts every phase, and usually is not at the instant of the
    peak: that tends to come at the end of the backward pass, when all gradients are there.

    Measure the *second* step. In the first one the optimizer has no state yet; whatever its step
    makes then counts as its state.

    The model may be frozen in part, run several times in one step, with or without gradients,
    with checkpointing, and `torch.autograd.grad` may be called in between. A module holds what is
    made while it is the innermost one to run, or while the backward of its operations runs, over
    all its calls together. Modules that are not part of ``model`` count to their caller.
    Gradients do not change, and the model is left as it was found.

    What a kernel allocates for itself and gives back is in no storage: ``unseen`` says how far it
    lifts the true peak, as torch's own profiler counts it on a CPU, where that profiler does not
    run anyway, and as the allocator counts on other devices. Not seen are the random states that
    checkpointing keeps, the work of other threads, and memory that the allocator keeps without
    using. A few derivatives of linear algebra, such as that of `torch.linalg.householder_product`,
    are computed in another way where somebody looks. Under a ``FakeTensorMode`` that is entered
    before this block, the same numbers come without any of the memory, ``unseen`` excepted.

    Args:
        model: the model, or the wrapper around it, that the step trains. Storages are counted on
            the device of its first parameter.
        optimizer: its state counts from the start. Without it, the state counts from the
            optimizer's step on.

        timeline: whether the report remembers every change, for `plot_timeline`.

    Yields:
        A handle whose ``report`` is there after the block.

    Raises:
        InputError: If the model is compiled or has parameters without a shape; if it has an LSTM
            and a fake mode is on, under which torch would take another kernel.

    Example:
        >>> model = torch.nn.Linear(8, 2)
        >>> optimizer = torch.optim.AdamW(model.parameters())
        >>> def step() -> None:
        ...     model(torch.ones(4, 8)).sum().backward()
        ...     optimizer.step()
        ...     optimizer.zero_grad()
        >>> step()  # the first step makes the optimizer's state
        >>> with ledger(model, optimizer) as reading:
        ...     step()
        >>> reading.report.kinds["optimizer"]  # two averages of 18 numbers, and two counts
        152
    """
    _check(model, optimizer)
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    tracker = StepTracker(
        model, [] if optimizer is None else [optimizer], device, timeline=timeline
    )
    if tracker.is_fake:
        _check_kernels(model)
    reading, books = Reading(), tracker.books
    counted = (
        contextlib.nullcontext() if tracker.is_fake or device.type == "cpu" else measure(device)
    )
    try:
        with counted as allocated, tracker:
            yield reading
    finally:
        reading.finish(
            MemoryReport(
                source="ledger of fake storages" if tracker.is_fake else "ledger of storages",
                device=str(device),
                peak=books.peak.size,
                live=books.total,
                live_before=tracker.total_before,
                working=books.working_peak.size,
                unseen=_unseen(tracker, allocated),
                kinds=books.peak.kinds(),
                working_kinds=books.working_peak.kinds(),
                live_kinds=books.kinds(),
                modules=books.peak.modules(),
                timeline=tracker.recorder.timeline() if tracker.recorder is not None else None,
            )
        )


def _check(model: nn.Module, optimizer: torch.optim.Optimizer | None) -> None:
    """Refuses what no books can be kept of."""
    if not isinstance(model, nn.Module):
        raise InputError(
            f"model ({type(model).__name__}) must be an nn.Module; "
            "pass the module whose parameters the step trains"
        )
    if optimizer is not None and not isinstance(optimizer, torch.optim.Optimizer):
        raise InputError(
            f"optimizer ({type(optimizer).__name__}) must be one torch.optim.Optimizer; "
            "pass one, the state of others counts from their step on"
        )
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if is_lazy(tensor):
            raise InputError(
                f"model ({name} has no shape yet) must have all its parameters; "
                "run a batch through it before the block"
            )
    for name, module in model.named_modules():
        # torch.compile(module) makes an OptimizedModule, whose import is slow, and module.compile()
        if hasattr(module, "_orig_mod") or module._compiled_call_impl is not None:
            raise InputError(
                f"model ({name or 'itself'} is compiled) must run eagerly, since compiled code "
                "allocates where nobody sees it; keep the books of the module before torch.compile"
            )


def _check_kernels(model: nn.Module) -> None:
    """Refuses modules for which torch runs another kernel where tensors have no values."""
    for name, module in model.named_modules():
        if isinstance(module, nn.LSTM) and module.weight_ih_l0.dtype != torch.float64:
            raise InputError(
                f"model ({name or 'itself'} is an LSTM) must have values, since without them torch "
                "takes a kernel that keeps less; keep the books of a real step with ledger()"
            )


def _unseen(tracker: StepTracker, allocated: Reading | None) -> int | None:
    """Returns how far the true peak lies above that of the books, None where nobody counted."""
    books = tracker.books
    if allocated is not None:
        known = books.peak.size - tracker.total_before - books.peak.kinds()["other"]
        return max(0, allocated.report.added - known)
    return max(0, tracker.kernels.peak - books.peak.size) if tracker.kernels.is_known else None
