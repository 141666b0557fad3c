"""Bytes of a training step that never runs: models, optimizers and batches without storages."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
)
from torch.optim import Optimizer
from torch.utils._python_dispatch import TorchDispatchMode

from tokenseek_common._errors import InputError
from tokenseek_common.memory._ledger import ledger
from tokenseek_common.memory._report import MemoryReport

Model = TypeVar("Model", bound=nn.Module)
Batch = TypeVar("Batch")
MakeOptimizer = Callable[[list[nn.Parameter]], Optimizer]

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
            A part of it may be moved or cast, but nothing may be read from its values.
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
        self._mode = FakeTensorMode(allow_non_fake_inputs=True)
        with self._mode, _movable(self._mode):
            self._model = build()
        trainable = [p for p in self._model.parameters() if p.requires_grad]
        with self._mode:
            self._optimizer = optimizer(trainable) if optimizer is not None else None
        self._has_state = False

    def __call__(self, batch: Callable[[], Batch]) -> MemoryReport:
        """Keep the books of one step.

        Args:
            batch: Makes the batch; only its shapes and dtypes matter.

        Returns:
            The report of a step that is not the first: the optimizer has its state.

        Raises:
            InputError: If the step needs the values of a tensor.
        """
        distinct = _Distinct()  # type: ignore[no-untyped-call]  # torch leaves it without types
        with self._mode, distinct:
            made = batch()
            if not self._has_state:
                self._step(made)
                self._has_state = True
            with ledger(self._model, self._optimizer) as reading:
                self._step(made)
        return reading.report

    def _step(self, batch: Batch) -> None:
        try:
            self._loss(self._model, batch).backward()
            if self._optimizer is not None:
                self._optimizer.step()
        except (DataDependentOutputException, DynamicOutputShapeException) as error:
            raise InputError(
                f"loss ({error.func}) must not depend on the values of tensors, which an estimate "
                "does not have; leave such operations out of the step"
            ) from error
        finally:
            self._model.zero_grad()


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
        InputError: If the step needs the values of a tensor.

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


class _Distinct(TorchDispatchMode):
    """Lets `unique` find each value once, the most that it can find: fake ones don't say."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func is not torch.ops.aten._unique2.default:
            return func(*args, **kwargs or {})
        (values,) = args[:1]
        inverse = torch.empty_like(values, dtype=torch.long)
        return torch.empty_like(values).flatten(), inverse, inverse.flatten()


@contextlib.contextmanager
def _movable(mode: FakeTensorMode) -> Iterator[None]:
    """Let modules be moved and cast while they are built.

    The mode remembers tensors by weak references, and torch swaps no parameter that has one.
    """
    converter = vars(mode.fake_tensor_converter)
    converter["set_tensor_memo"] = lambda tensor, fake: None
    try:
        yield
    finally:
        del converter["set_tensor_memo"]
