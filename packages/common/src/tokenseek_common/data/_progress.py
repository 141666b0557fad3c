"""How far a pass over data has come, so that another process can go on from there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

from tokenseek_common._errors import InputError

T = TypeVar("T")


class Progress:
    """The epoch, and how much of it has been handed out.

    Args:
        identity: What must be the same for a state to have a meaning.
    """

    def __init__(self, identity: Mapping[str, object]) -> None:
        self.identity = dict(identity)
        self.epoch = self.done = 0
        self._resumed = True  # so is the first pass, from the beginning

    def begin(self) -> tuple[int, int]:
        """Begin a pass: where a state was loaded, the rest of that epoch, else the next one."""
        if not self._resumed:
            self.epoch, self.done = self.epoch + 1, 0
        self._resumed = False
        return self.epoch, self.done

    def count(self, handed: Iterable[T]) -> Iterator[T]:
        """Count what is handed out; behind the last the next epoch is to come."""
        for one in handed:
            self.done += 1
            yield one
        self.epoch, self.done, self._resumed = self.epoch + 1, 0, True

    def state_dict(self) -> dict[str, object]:
        """What `load_state_dict` goes on from."""
        return {"epoch": self.epoch, "done": self.done, **self.identity}

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Let the next pass go on from there.

        Raises:
            InputError: The state is of other data, or of another order.
        """
        for name, ours in self.identity.items():
            if state.get(name) != ours:
                raise InputError(
                    f"{name} ({ours}) must be {state.get(name)}, as in the state that is loaded; "
                    "give the same data and options"
                )
        epoch, done = state["epoch"], state["done"]
        assert isinstance(epoch, int)
        assert isinstance(done, int)
        self.epoch, self.done, self._resumed = epoch, done, True
