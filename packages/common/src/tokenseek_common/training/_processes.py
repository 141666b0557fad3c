"""The processes of one training, each with its part of every batch."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self, TypeVar

import torch
import torch.distributed as dist

from tokenseek_common._errors import InputError, RunError

T = TypeVar("T")

_SHARDED = ("ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED", "ACCELERATE_USE_MEGATRON_LM")


class LostProcessError(RunError):
    """Another process of the training has ended, so that this one cannot go on.

    Example:
        >>> raise LostProcessError("another process of the training has ended; see what it said")
        Traceback (most recent call last):
        tokenseek_common.training._processes.LostProcessError: another process of the training ...
    """


@dataclass(frozen=True)
class Processes:
    """The processes of one training, as torchrun and accelerate launch start them.

    Args:
        count: How many there are.
        rank: The place of this one, from 0.
        device: Where this one computes.

    Example:
        >>> processes = Processes.joined(torch.device("cpu"))
        >>> folder = processes.on_first(lambda: fresh_folder(None, default="train"))
    """

    count: int
    rank: int
    device: torch.device

    @classmethod
    def joined(cls, device: torch.device) -> Self:
        """Join those that were started with this one, if there are any, each with a whole model.

        Args:
            device: Where one alone would compute; of several, each has one of that kind.

        Raises:
            InputError: The launcher asks for weights that are sharded.
        """
        count = os.environ.get("WORLD_SIZE", "1")
        if count == "1":
            return cls(1, 0, device)
        for name in _SHARDED:
            if os.environ.get(name, "false").lower() in ("1", "true"):
                raise InputError(
                    f"{name} ({os.environ[name]}) must be unset, each process holds the whole "
                    "model; launch with --multi_gpu, or shard the model in a program of your own"
                )
        from accelerate import PartialState

        state = PartialState(cpu=device.type == "cpu")
        return cls(state.num_processes, state.process_index, state.device)

    @property
    def is_first(self) -> bool:
        """Whether this one writes and tells."""
        return self.rank == 0

    def on_first(self, work: Callable[[], T]) -> T:
        """Do something in the first process alone, and give all of them what it gave.

        Args:
            work: What is done; its result can be pickled.

        Raises:
            InputError: Of the work, in every process.
            RunError: Of the work, in every process, or another error of it in the others.
        """
        if self.count == 1:
            return work()
        given: list[Any] = [None, None]
        failed: Exception | None = None
        if self.is_first:
            try:
                given[0] = work()
            except Exception as error:
                failed = error
                known = isinstance(error, InputError | RunError)
                given[1] = error if known else RunError(f"the first process failed ({error!r})")
        dist.broadcast_object_list(given, src=0)
        if failed is not None:
            raise failed
        if given[1] is not None:
            raise given[1]
        result: T = given[0]
        return result

    def any(self, flag: bool) -> bool:
        """Whether a flag is set in any of them; all must ask."""
        return self.summed([float(flag)])[0] > 0

    def summed(self, numbers: Sequence[float]) -> list[float]:
        """Numbers added up over all of them; all must ask."""
        if self.count == 1:
            return list(numbers)
        total = torch.tensor(numbers, dtype=torch.float64, device=self.device)
        dist.all_reduce(total)
        added: list[float] = total.tolist()
        return added

    @contextmanager
    def together(self, kept: Callable[[], str]) -> Iterator[None]:
        """Tell in a sentence that another process has ended while this one waited for it.

        Args:
            kept: Says what is still there.

        Raises:
            LostProcessError: It has.
        """
        try:
            yield
        except RunError:
            raise
        except RuntimeError as error:  # of gloo and NCCL
            if self.count == 1 or not is_of_others(error):
                raise
            raise LostProcessError(
                "another process of the training has ended; see what it said, and go on with the "
                f"same options and --resume ({kept()})"
            ) from error

    def leave(self) -> None:
        """Part, once all is done."""
        if self.count > 1:
            from accelerate import PartialState

            PartialState().destroy_process_group()


def is_of_others(error: Exception) -> bool:
    """Whether an error says that another process cannot be reached."""
    said = str(error).lower()
    lost = any(word in said for word in ("gloo", "connection closed", "connection reset", "nccl"))
    return isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and lost)
