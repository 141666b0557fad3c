"""Bytes of a training step that never runs: models, optimizers and batches without storages."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
)
from torch.optim import Optimizer

from tokenseek_common._errors import InputError
from tokenseek_common.memory._ledger import ledger
from tokenseek_common.memory._report import MemoryReport
from tokenseek_common.memory._shapes import ShapesOnly

Model = TypeVar("Model", bound=nn.Module)
Batch = TypeVar("Batch")
MakeOptimizer = Callable[[list[nn.Parameter]], Optimizer]

_SMALL = 1000  # what is less than this part of the peak changes none of its first three digits

fused_adamw: MakeOptimizer = functools.partial(torch.optim.AdamW, fused=True)
"""The optimizer whose step needs no temporaries."""


class Estimator(Generic[Model, Batch]):
    """A model and its optimizer without storages, for the `ledger` of steps that never run.

    All that is made by the callables below is fake: it has a shape, a dtype and a device, and no
    memory. So neither weights nor an accelerator are needed, and the host needs little more than
    the libraries that it imports. The report is that of `ledger` on a real step of the same
    operations on a CPU. Values must not decide which operations run, nor how large their results
    are; `torch.unique` alone may, and counts as if no value came twice.

    What it assumes: torch picks kernels as it does for tensors on a CPU.
    `scaled_dot_product_attention` runs `_scaled_dot_product_flash_attention_for_cpu`, with any
    mask, which keeps query, key, value, output and one float32 number for each query and head; the
    kernels of a GPU keep the same. With dropout or a mask that needs gradients it computes the
    attention map, which is far larger. Not in it are memory that a GPU's allocator keeps without
    using, the workspaces inside kernels and the context of CUDA. Fake tensors on ``"cuda"`` are no
    better: without a GPU torch takes kernels for them that a GPU would not run.

    Args:
        build: Makes the model, adapted, frozen, checkpointed and in training mode as it will be.
            A part of it may be moved or cast, but nothing may be read from its values; short
            sequences of numbers, such as drop rates, have theirs.
        loss: What the step goes backward from, a scalar, given the model and a batch.
        optimizer: Makes the optimizer of the parameters that require gradients; None is a step
            without one.

    Example:
        >>> estimator = Estimator(
        ...     lambda: torch.nn.Linear(4096, 4096),
        ...     lambda linear, x: linear(x).sum(),
        ... )
        >>> [format_bytes(estimator(lambda: torch.zeros(n, 4096)).peak) for n in (1, 4096)]
        ['256.1 MiB', '320.1 MiB']
    """

    def __init__(
        self,
        build: Callable[[], Model],
        loss: Callable[[Model, Batch], Tensor],
        *,
        optimizer: MakeOptimizer | None = fused_adamw,
    ) -> None:
        self._loss = loss
        self._mode = ShapesOnly()
        with self._mode.building(), _no_values_in("build"):
            self._model = build()
        self._trainable = [p for p in self._model.parameters() if p.requires_grad]
        with self._mode:
            self._optimizer = optimizer(self._trainable) if optimizer is not None else None
            with _no_values_in("optimizer"):
                self._make_state()
        self._is_first = True

    def __call__(self, batch: Callable[[], Batch]) -> MemoryReport:
        """Keep the books of one step.

        Args:
            batch: Makes the batch; only its shapes and dtypes matter.

        Returns:
            The report of a step that is not the first: the optimizer has its state, and what the
            model makes once and keeps is there, or is less than a thousandth of the peak.

        Raises:
            InputError: If the step needs the values of a tensor.
        """
        with self._mode:
            made = batch()
            report, state_fits = self._books_of(made)
            if not state_fits:
                report, _ = self._books_of(made)
            left_behind = report.live_kinds["activations"] + report.live_kinds["temporaries"]
            if self._is_first and left_behind * _SMALL > report.peak:
                report, _ = self._books_of(made)
            self._is_first = False
        return report

    def _make_state(self) -> None:
        """Lets the optimizer make its state without a step of the model."""
        if self._optimizer is not None:
            for parameter in self._trainable:
                parameter.grad = torch.empty_like(parameter)
            self._optimizer.step()
            self._model.zero_grad()

    def _books_of(self, batch: Batch) -> tuple[MemoryReport, bool]:
        """Runs a step.

        Returns:
            Its report, and whether the optimizer had state for those parameters that got a
            gradient and for no others; now it has.
        """
        with ledger(self._model, self._optimizer) as reading:
            stateless = self._step(batch)
        return reading.report, stateless

    def _step(self, batch: Batch) -> bool:
        try:
            with _no_values_in("loss"):
                self._loss(self._model, batch).backward()
            if self._optimizer is None:
                return True
            before = len(self._optimizer.state)
            with _no_values_in("optimizer"):
                self._optimizer.step()
            grown = len(self._optimizer.state) > before
            idle = [p for p in self._trainable if p.grad is None and p in self._optimizer.state]
            for parameter in idle:
                del self._optimizer.state[parameter]
            return not (idle or grown)
        finally:
            self._model.zero_grad()


@contextlib.contextmanager
def _no_values_in(function: str) -> Iterator[None]:
    """Refuses, in the name of one of the given functions, what needs values."""
    try:
        yield
    except (DataDependentOutputException, DynamicOutputShapeException) as error:
        raise InputError(
            f"{function} ({error.func}) must not depend on the values of tensors, which an "
            "estimate does not have; leave such operations out of it"
        ) from error


def estimate(
    build: Callable[[], Model],
    batch: Callable[[], Batch],
    loss: Callable[[Model, Batch], Tensor],
    *,
    optimizer: MakeOptimizer | None = fused_adamw,
) -> MemoryReport:
    """Tell what a training step will need, before there are weights or a GPU.

    Args:
        build: Makes the model, see `Estimator`, which also says what the numbers assume.
        batch: Makes the batch; only its shapes and dtypes matter.
        loss: What the step goes backward from, a scalar, given the model and the batch.
        optimizer: Makes the optimizer of the parameters that require gradients; None is a step
            without one.

    Returns:
        The ledger of the second step.

    Raises:
        InputError: If the model or the step needs the values of a tensor, or the model has an LSTM.

    Example:
        >>> report = estimate(
        ...     lambda: torch.nn.Linear(65536, 65536, bias=False),
        ...     lambda: torch.zeros(1, 65536),
        ...     lambda linear, x: linear(x).sum(),
        ... )
        >>> format_bytes(report.peak)  # of a host that has less
        '64.0 GiB'
    """
    return Estimator(build, loss, optimizer=optimizer)(batch)
