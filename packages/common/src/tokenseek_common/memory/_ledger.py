"""Bytes of one training step, by kind and by module."""

import contextlib
from collections.abc import Iterator

import torch
from torch import nn

from tokenseek_common.memory._reading import Reading
from tokenseek_common.memory._report import MemoryReport


@contextlib.contextmanager
def ledger(model: nn.Module, optimizer: torch.optim.Optimizer | None = None) -> Iterator[Reading]:
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

    Not seen are the workspaces inside kernels, the random states that checkpointing keeps, and
    memory that the allocator keeps without using. Compiled regions are seen from outside only:
    measure eager code. Under a ``FakeTensorMode`` that is entered before this block, the same
    numbers come without any of the memory.

    Args:
        model: the model, or the wrapper around it, that the step trains. Storages are counted on
            the device of its first parameter.
        optimizer: its state counts from the start. Without it, the state counts from the
            optimizer's step on.

    Yields:
        A handle whose ``report`` is there after the block, with all its fields known.

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
    # torch's tools for distributed training take seconds to import
    from tokenseek_common.memory._tracker import StepTracker

    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    tracker = StepTracker(model, [] if optimizer is None else [optimizer], device)
    reading = Reading()
    try:
        with tracker:
            yield reading
    finally:
        reading.finish(
            MemoryReport(
                source="ledger of fake storages" if tracker.is_fake else "ledger of storages",
                device=str(device),
                peak=tracker.peak.size,
                live=tracker.total,
                live_before=tracker.total_before,
                working=tracker.working_peak.size,
                kinds=tracker.peak.kinds(),
                working_kinds=tracker.working_peak.kinds(),
                modules=tracker.peak.modules(),
            )
        )
