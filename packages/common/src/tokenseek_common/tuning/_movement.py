"""Whether all that is to be trained is trained: it has gradients, and it moves."""

from __future__ import annotations

import math
import re
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from tokenseek_common._errors import InputError, RunError
from tokenseek_common._storages import dense_parts
from tokenseek_common._table import align
from tokenseek_common.tuning._checksum import Checksum
from tokenseek_common.tuning._patterns import all_matches

_ABSENT, _INFINITE, _ZERO, _USEFUL = range(4)
"""The best gradient that a tensor has had, in the order of how good it is."""

_REASONS = {
    _ABSENT: "a gradient",
    _INFINITE: "a finite gradient",
    _ZERO: "a gradient other than zero",
    _USEFUL: "a change: gradients are there",
}


@dataclass(frozen=True)
class MovementReport:
    """What some steps of training have moved.

    Args:
        steps: Optimizer steps.
        tensors: Trainable tensors that were looked at.
        still: Of those that were not trained, the name and what was missing.
    """

    steps: int
    tensors: int
    still: Mapping[str, str]

    @property
    def sentence(self) -> str:
        """What must be otherwise, where a tensor was not trained."""
        return (
            f"trainable tensors ({len(self.still)} of {self.tensors} not trained in {self.steps} "
            "steps) must all have a finite gradient and move; freeze what is not to be trained"
        )

    def table(self) -> str:
        """Write the tensors that were not trained as aligned plain text; layers are one line."""
        _, columns, rows = self.cells()
        return align([columns, *(list(map(str, row)) for row in rows)])

    def cells(self) -> tuple[str, list[str], list[list[object]]]:
        """Give a title, headings and rows, as `Console.table` of the command lines takes them."""
        layers = Counter(
            (re.sub(r"(?<![^.])\d+(?![^.])", "*", name), why) for name, why in self.still.items()
        )
        rows: list[list[object]] = [[name, count, why] for (name, why), count in layers.items()]
        title = f"Not trained in {self.steps} steps"
        return title, ["parameters", "tensors", "what is missing"], rows


class MovementCheck:
    """Sees that after some steps every trainable tensor has had a gradient and has moved.

    It looks at the steps of an optimizer, at each until a tensor has had a gradient that is finite
    and not zero, and takes itself off after the last. Gradients may be accumulated before a step;
    DDP and FSDP2 come first, so that the parameters are those that the optimizer has. Processes
    that shard a tensor put their findings together. It keeps eight bytes of a million numbers.

    Args:
        module: The model; what is trainable now is looked at.
        optimizer: What trains it, or accelerate's wrapper of that.
        steps: Optimizer steps to wait: while the learning rate warms up from nothing, numbers of
            few digits stay where they are, and a factor of one that is zero has no gradient.
        exempt: Patterns of parameters that may rest, as experts that no token was sent to.
        on_failure: `"warn"`, `"error"`, or what is called with the report.

    Attributes:
        report: What was found; None before the last step.

    Raises:
        InputError: A pattern matches no trainable parameter, or one is on meta.

    Example:
        >>> model = nn.Linear(2, 1)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> with MovementCheck(model, optimizer, steps=1) as check:
        ...     model(torch.ones(1, 2)).sum().backward()
        ...     optimizer.step()
        >>> check.report
        MovementReport(steps=1, tensors=2, still={})
    """

    def __init__(
        self,
        module: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        steps: int = 5,
        exempt: Sequence[str] = (),
        on_failure: Literal["warn", "error"] | Callable[[MovementReport], object] = "warn",
    ) -> None:
        if steps < 1:
            raise InputError(f"steps ({steps}) must be at least 1; 5 are usual")
        self._tensors = _looked_at(module, exempt)
        self._best = dict.fromkeys(self._tensors, _ABSENT)
        self._checksum = Checksum()
        self._before = {name: self._checksum(p) for name, p in self._tensors.items()}
        self._steps, self._taken = steps, 0
        self._on_failure = on_failure
        self.report: MovementReport | None = None
        # accelerate's wrapper has no hooks of its own, and does not take every step.
        bare = getattr(optimizer, "optimizer", optimizer)
        self._hook = bare.register_step_post_hook(self._look)

    def remove(self) -> None:
        """Leave the optimizer as it was, and let go of the parameters."""
        self._hook.remove()
        self._tensors, self._before = {}, {}

    def __enter__(self) -> MovementCheck:
        return self

    def __exit__(self, *raised: object) -> None:
        self.remove()

    def _look(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        """Look at the gradients of a step that was just taken; after the last, at what moved."""
        for name in [name for name, best in self._best.items() if best < _USEFUL]:
            self._best[name] = max(self._best[name], _quality(self._tensors[name].grad))
        self._taken += 1
        if self._taken < self._steps:
            return
        still = self._still(optimizer)
        self.report = MovementReport(self._taken, len(self._tensors), still)
        self.remove()
        if still:
            self._tell(self.report)

    def _still(self, optimizer: torch.optim.Optimizer) -> dict[str, str]:
        """What was not trained, and why, as all processes together know it."""
        rows = [(best, best == _INFINITE, self._moved(n)) for n, best in self._best.items()]
        findings = _put_together(torch.tensor(rows).view(-1, 3), list(self._tensors.values()))
        given = {id(p) for group in optimizer.param_groups for p in group["params"]}
        still = {}
        for name, (best, infinite, moved) in zip(self._tensors, findings.tolist(), strict=True):
            # A gradient is finite where it is on all processes.
            best = _INFINITE if infinite else best
            if id(self._tensors[name]) not in given:
                still[name] = "a place in the optimizer"
            elif best < _USEFUL or not moved:
                still[name] = _REASONS[best]
        return still

    def _moved(self, name: str) -> bool:
        after = self._checksum(self._tensors[name])
        return any(
            not torch.equal(old, new) for old, new in zip(self._before[name], after, strict=True)
        )

    def _tell(self, report: MovementReport) -> None:
        if callable(self._on_failure):
            self._on_failure(report)
            return
        told = f"{report.sentence}\n{report.table()}"
        if self._on_failure == "error":
            raise RunError(told)
        warnings.warn(told, stacklevel=4)  # where the step was taken


def _looked_at(module: nn.Module, exempt: Sequence[str]) -> dict[str, nn.Parameter]:
    """The trainable parameters by name, each once, without those that are exempt."""
    named = module.named_parameters(remove_duplicate=False)
    names = {name: parameter for name, parameter in named if parameter.requires_grad}
    spared = {id(names[name]) for name in all_matches(exempt, names)}
    chosen = {}
    for name, parameter in module.named_parameters():
        # Without a number there is nothing to move: other ways to shard leave such tensors.
        if not parameter.requires_grad or id(parameter) in spared or not parameter.numel():
            continue
        if any(part.is_meta for part in dense_parts(parameter)):
            raise InputError(f"{name} (on meta) must have values to be trained; load them before")
        chosen[name] = parameter
    return chosen


def _quality(gradient: Tensor | None) -> int:
    """How good a gradient is; of a sharded one, as far as this process holds it."""
    parts = [] if gradient is None else dense_parts(gradient.detach())
    largest = [
        float(torch.linalg.vector_norm(part, math.inf))  # NaN if a number is
        for part in parts
        if part.numel() and (part.is_floating_point() or part.is_complex())
    ]
    if not largest:
        return _ABSENT
    if not all(map(math.isfinite, largest)):
        return _INFINITE
    return _USEFUL if any(largest) else _ZERO


def _put_together(findings: Tensor, tensors: list[nn.Parameter]) -> Tensor:
    """Take, of each sharded tensor, the largest numbers that any of its processes has."""
    meshes: dict[Any, list[int]] = {}
    for row, tensor in enumerate(tensors):
        if hasattr(tensor, "device_mesh"):
            meshes.setdefault(tensor.device_mesh, []).append(row)
    for mesh, rows in meshes.items():
        ours = findings[rows].to(mesh.device_type)
        for dimension in range(mesh.ndim):
            group = mesh.get_group(dimension)
            torch.distributed.all_reduce(ours, torch.distributed.ReduceOp.MAX, group=group)
        findings[rows] = ours.cpu()
    return findings
