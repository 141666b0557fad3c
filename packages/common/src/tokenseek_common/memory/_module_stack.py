"""Which module is at work: the one in its forward, or the one whose backward runs."""

import bisect
import dataclasses
from typing import Any

import torch
from torch import nn
from torch._C._autograd import _get_sequence_nr
from torch.distributed._tools.mod_tracker import ModTracker

OUTSIDE = "(outside)"


@dataclasses.dataclass(frozen=True)
class _Frame:
    """One forward call that has not returned yet."""

    module: nn.Module
    owner: str
    graph_task: int  # the backward pass that the call is part of, as under checkpointing; or -1


class ModuleStack(ModTracker):
    """Follows forward calls with global hooks, and backward passes without any hook.

    torch's `ModTracker` follows the backward pass with hooks on the tensors that go through a
    module. They stay on leaves after the block, and expect each module once. This class reads
    autograd's own numbering instead: nodes are numbered in the order of their creation, so the
    number of the node that runs tells which module was in its forward when the node was made.

    Args:
        model: modules are named as in its ``named_modules()``; others count to the one that
            called them.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch leaves it without types
        self._names = {module: name for name, module in model.named_modules()}
        self._frames: list[_Frame] = []
        # node numbers at which the owner changes, and the owner from there on
        self._starts: list[int] = [0]
        self._owners: list[str] = [OUTSIDE]

    @property
    def in_forward(self) -> bool:
        """Whether a module's forward runs, be it a recomputation during a backward pass."""
        return bool(self._frames) and self._frames[-1].graph_task == _graph_task()

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

    def _fw_pre_hook(self, mod: nn.Module, input: Any) -> None:
        if not self._frames and self._user_pre_fw_hook is not None:
            self._user_pre_fw_hook(mod, input)  # for the outermost module only
        caller = self._frames[-1].owner if self._frames else OUTSIDE
        self._frames.append(_Frame(mod, self._names.get(mod, caller), _graph_task()))
        self._mark()

    def _fw_post_hook(self, mod: nn.Module, input: Any, output: Any) -> None:
        if not any(frame.module is mod for frame in self._frames):
            return
        # calls inside this one that were interrupted before their own hook ran end here too
        while self._frames.pop().module is not mod:
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
