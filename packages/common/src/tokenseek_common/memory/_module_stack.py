"""Which module is at work: the one in its forward, or the one whose backward runs."""

import bisect
import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch._C._autograd import _get_sequence_nr
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
)

OUTSIDE = "(outside)"


@dataclasses.dataclass(frozen=True)
class _Frame:
    """One forward call that has not returned yet."""

    module: nn.Module
    owner: str
    graph_task: int  # the backward pass that the call is part of, as under checkpointing; or -1


class ModuleStack:
    """Follows forward calls with global hooks, and backward passes without any hook.

    Hooks on the tensors that go through a module would stay on leaves, and would expect each
    module once. This class reads autograd's own numbering instead: nodes are numbered in the order
    of their creation, so the number of the node that runs tells which module was in its forward
    when the node was made.

    Args:
        model: modules are named as in its ``named_modules()``; others count to the one that
            called them.
    """

    def __init__(self, model: nn.Module) -> None:
        self._names = {module: name for name, module in model.named_modules()}
        self._frames: list[_Frame] = []
        # node numbers at which the owner changes, and the owner from there on
        self._starts: list[int] = [0]
        self._owners: list[str] = [OUTSIDE]

    @contextlib.contextmanager
    def following(self, on_outermost: Callable[[], None]) -> Iterator[None]:
        """Follows what runs in the block.

        Args:
            on_outermost: called before each outermost forward.
        """

        def before(module: nn.Module, inputs: Any) -> None:
            if not self._frames:
                on_outermost()
            self._before_forward(module)

        entering = register_module_forward_pre_hook(before)
        leaving = register_module_forward_hook(self._after_forward, always_call=True)
        try:
            yield
        finally:
            entering.remove()
            leaving.remove()

    @property
    def in_forward(self) -> bool:
        """Whether a module's forward runs, be it a recomputation during a backward pass."""
        return bool(self._frames) and self._frames[-1].graph_task == _graph_task()

    @property
    def in_backward(self) -> bool:
        """Whether a backward pass runs in this thread, recomputations included."""
        return _graph_task() != -1

    @property
    def owner(self) -> str:
        """Name of the module at work; `OUTSIDE` where none is."""
        if self.in_forward:
            return self._frames[-1].owner
        node: Any = torch._C._current_autograd_node()
        if node is None:
            return OUTSIDE
        number: int = node._sequence_nr()
        # the node that accumulates into .grad has the largest number there is
        if not 0 <= number < _get_sequence_nr():
            return OUTSIDE
        return self._owners[bisect.bisect_right(self._starts, number) - 1]

    def _before_forward(self, module: nn.Module) -> None:
        caller = self._frames[-1].owner if self._frames else OUTSIDE
        self._frames.append(_Frame(module, self._names.get(module, caller), _graph_task()))
        self._mark()

    def _after_forward(self, module: nn.Module, inputs: Any, output: Any) -> None:
        if not any(frame.module is module for frame in self._frames):
            return
        # calls inside this one that were interrupted before their own hook ran end here too
        while self._frames.pop().module is not module:
            pass
        self._mark()

    def _mark(self) -> None:
        """Notes that nodes made from now on belong to the module on top."""
        owner = self._frames[-1].owner if self._frames else OUTSIDE
        number = _get_sequence_nr()
        if number > self._starts[-1]:
            self._starts.append(number)
            self._owners.append(owner)
        elif number == self._starts[-1]:
            self._owners[-1] = owner
        # a smaller number is another thread's, which only recomputes: those nodes never run


def _graph_task() -> int:
    """Returns the identity of the backward pass that runs in this thread, or -1."""
    task: int = torch._C._current_graph_task_id()
    return task
