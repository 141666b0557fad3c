"""What layers and hooks of one model tell each other during a forward pass."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from mept._routing import Routing
from tokenseek_common.rows import RowRecord, RowSelection


@dataclass(frozen=True)
class Prompted:
    """Prompt rows are in front of the tokens, and each layer replaces them by its own."""

    rows: int
    """How many."""
    scope: Tensor
    """The tokens that routers may look at, bool [b, n]."""
    divisor: Tensor
    """What the sum of those tokens is divided by, [b, 1]."""
    lead: Tensor | None = None
    """By how many columns each input was moved forward, [b], where it was."""
    as_tuple: bool = False
    """Whether the caller wants a tuple."""
    row_pass: RowRecord | RowSelection | None = None
    """Of a step in two passes: where the first keeps what was decided, or what the second runs."""

    @property
    def replayed(self) -> RowSelection | None:
        """The rows of a second pass, if this is one."""
        return self.row_pass if isinstance(self.row_pass, RowSelection) else None


@dataclass
class Generation:
    """A call of `generate`, whose routing is that of its prompt to the end."""

    routing_mask: Tensor | None
    """The tokens of the prompt that routers may look at; None is all of them."""
    length: int | None = None
    """Tokens of the prompt, known from the first pass on."""
    turn: Generation | None = None
    """Whose pass comes next, where guidance runs a prompt and a negative one by turns."""


@dataclass
class Call:
    """What the whole model was called with, which its stack of blocks is not told."""

    labels: Tensor | None = None
    routing_mask: Tensor | None = None
    step_targets: Tensor | int | None = None
    """Targets of the whole step, where the caller makes several calls and adds their losses up."""
    routings: dict[str, Routing] = field(default_factory=dict)
    """Of each layer by its name, in order; of two passes, those with gradient."""
    stack_alone: bool = True
    """Whether the stack is called by itself, and the call ends with it."""


class State:
    """What runs now in one thread."""

    def __init__(self) -> None:
        self.call = Call()
        self.prompted: Prompted | None = None
        self.generation: Generation | None = None
        self.cross_rows = 0  # in front of the encoder states that a decoder is given
        self.is_bare = False  # runs the model without prompts, whichever are in use
        self.adapters: tuple[str, ...] | None = None  # of each input, where they differ


class _OfThread(threading.local):
    """Makes a state for every thread that asks."""

    def __init__(self) -> None:
        self.state = State()


class Current:
    """The pass that runs now, apart for every thread: DataParallel runs one model in several.

    The state is an object in a `threading.local`, not one itself: where `torch.compile` breaks a
    graph between two hooks, what one writes to a `threading.local` is lost to the other.
    """

    call: Call
    prompted: Prompted | None
    generation: Generation | None
    cross_rows: int
    is_bare: bool
    adapters: tuple[str, ...] | None

    def __init__(self) -> None:
        object.__setattr__(self, "_of_thread", _OfThread())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._of_thread.state, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._of_thread.state, name, value)

    @contextmanager
    def bare(self) -> Iterator[None]:
        """Run the model without prompts."""
        self.is_bare = True
        try:
            yield
        finally:
            self.is_bare = False

    @contextmanager
    def mixed(self, adapters: tuple[str, ...]) -> Iterator[None]:
        """Run the model with an adapter for each input."""
        self.adapters = adapters
        try:
            yield
        finally:
            self.adapters = None

    def __reduce__(self) -> Any:
        """A copied model starts with no pass running."""
        return Current, ()
