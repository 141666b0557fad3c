"""Training steps of one model, measured side by side in one run."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from tokenseek_common.memory import MemoryReport, ledger, saved_for_backward
from tokenseek_core._apply import TokenSeekHandle, apply_tokenseek
from tokenseek_core._config import TokenSeekConfig
from tokenseek_core.inspect._chunked_loss import chunked_loss

Loss = Callable[[PreTrainedModel, Mapping[str, Tensor]], Tensor]
"""The loss of a batch."""


@dataclass(frozen=True)
class Method:
    """A way to run a training step.

    Args:
        name: How tables call it.
        config: TokenSeek's settings, None for a step through every token.
        checkpointing: Whether blocks are recomputed in the backward pass.
        loss: How the loss is computed where it is not the model's own.
    """

    name: str
    config: TokenSeekConfig | None = None
    checkpointing: bool = False
    loss: Loss | None = None

    def loss_of(self, model: PreTrainedModel, batch: Mapping[str, Tensor]) -> Tensor:
        """The loss that a step goes backward from."""
        if self.loss is not None:
            return self.loss(model, batch)
        loss: Tensor = model(**batch, use_cache=False).loss
        return loss


def methods(config: TokenSeekConfig) -> tuple[Method, ...]:
    """The five ways that a user chooses between."""
    return (
        Method("dense"),
        Method("checkpointing", checkpointing=True),
        Method("checkpointing + chunked head", checkpointing=True, loss=chunked_loss),
        Method("TokenSeek", config),
        Method("TokenSeek + checkpointing", config, checkpointing=True),
    )


@dataclass(frozen=True)
class StepCost:
    """What one step of a method costs.

    Args:
        method: The method's name.
        seconds: Shortest of the measured steps, forward, backward and optimizer.
        cpu_seconds: The least processor time of them, over all threads; where other processes
            disturb the machine, ratios of it are the steadier ones. It leaves out accelerators.
        saved_bytes: Bytes that autograd keeps for the backward pass, without parameters.
        kept_bytes: Recorded keys and values, which a checkpointed step keeps beside them.
        memory: The ledger of a whole step, the optimizer's included.
    """

    method: str
    seconds: float
    cpu_seconds: float
    saved_bytes: int
    kept_bytes: int
    memory: MemoryReport

    @property
    def working_bytes(self) -> int:
        """The step's peak beyond parameters, gradients and optimizer state."""
        assert self.memory.working is not None
        return self.memory.working

    def summary(self) -> dict[str, str | float]:
        """The figures by name, for JSON."""
        return {
            "method": self.method,
            "seconds": self.seconds,
            "cpu_seconds": self.cpu_seconds,
            "saved_bytes": self.saved_bytes,
            "kept_bytes": self.kept_bytes,
            "working_bytes": self.working_bytes,
            "peak_bytes": self.memory.peak,
        }


def compare_steps(
    model: PreTrainedModel,
    batch: Mapping[str, Tensor],
    methods: Sequence[Method],
    *,
    repeats: int = 3,
) -> Iterator[StepCost]:
    """Measure one training step of each method, on the same model and batch.

    Weights change by nothing: the optimizer runs with a learning rate of 0.

    Args:
        model: A model in training mode, without TokenSeek applied.
        batch: Arguments of its forward, labels among them.
        methods: The ways to compare.
        repeats: Timed steps of each; the shortest counts. They take turns, method after method,
            so that a machine that slows down does so for all.

    Yields:
        The cost of each method, in their order, once all are measured.
    """
    trainable = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=0.0, weight_decay=0.0, fused=True)

    def step(method: Method) -> None:
        method.loss_of(model, batch).backward()
        optimizer.step()
        optimizer.zero_grad()

    memory: dict[str, tuple[int, int, MemoryReport]] = {}
    for method in methods:
        with using(model, method) as handle:
            step(method)  # the first step makes the optimizer's state
            with ledger(model, optimizer, timeline=True) as reading:
                step(method)
            with saved_for_backward(model) as saved:
                loss = method.loss_of(model, batch)
            del loss
            kept = handle.last.kept_bytes if handle is not None and handle.last else 0
            memory[method.name] = (saved.report.live, kept, reading.report)
    wall = {method.name: float("inf") for method in methods}
    cpu = dict(wall)
    for _ in range(repeats):
        for method in methods:
            with using(model, method, check=False):
                begin, cpu_begin = _now(model.device), time.process_time()
                step(method)
                cpu[method.name] = min(cpu[method.name], time.process_time() - cpu_begin)
                wall[method.name] = min(wall[method.name], _now(model.device) - begin)
    for method in methods:
        saved_bytes, kept, report = memory[method.name]
        yield StepCost(
            method=method.name,
            seconds=wall[method.name],
            cpu_seconds=cpu[method.name],
            saved_bytes=saved_bytes,
            kept_bytes=kept,
            memory=report,
        )


@contextmanager
def using(
    model: PreTrainedModel, method: Method, *, check: bool = True
) -> Iterator[TokenSeekHandle | None]:
    """Train `model` as `method` does inside the block, and leave it as it was.

    Args:
        model: A model without TokenSeek applied.
        method: How to train it.
        check: False leaves out TokenSeek's self-check, for timing.

    Yields:
        TokenSeek's handle, or None for a step through every token.
    """
    before = _checkpoints(model)
    set_checkpointing(model, method.checkpointing)
    handle = None
    if method.config is not None:
        config = dataclasses.replace(method.config, check=method.config.check and check)
        handle = apply_tokenseek(model, config)
    try:
        yield handle
    finally:
        if handle is not None:
            handle.remove()
        set_checkpointing(model, before)


def _checkpoints(model: PreTrainedModel) -> bool:
    """Whether any block is recomputed in the backward pass."""
    return any(getattr(module, "gradient_checkpointing", False) for module in model.modules())


def set_checkpointing(model: PreTrainedModel, enable: bool) -> None:
    """Switch gradient checkpointing by the name that this version of transformers gives it."""
    if _checkpoints(model) == enable:
        return
    verb = "enable" if enable else "disable"
    current = getattr(model, f"activation_checkpointing_{verb}", None)
    (current or getattr(model, f"gradient_checkpointing_{verb}"))()


def _now(device: torch.device) -> float:
    """Wall seconds, once the device has done what it was given."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
    return time.perf_counter()
