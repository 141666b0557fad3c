"""The longest instance whose training step fits a memory."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from accelerator.devices import device, reserved_peak, reset_reserved, total_memory
from accelerator.steps import batch_of, decoder, training, way_of


def longest(
    *,
    shape: str,
    tuning: str,
    method: str,
    cap_mib: float,
    lengths: tuple[int, int, int],
    seconds: float,
) -> dict[str, Any]:
    """Train under a cap with longer and longer instances, one at a time.

    Args:
        shape: One of DECODERS.
        tuning: "full" or "lora".
        method: See `steps.way_of`.
        cap_mib: What the allocator may hold.
        lengths: The shortest that is tried, the longest, and the grid between them.
        seconds: After which no other length is tried.

    Returns:
        The longest length that fitted, and the shortest that did not, if one was found; the
        device may also be smaller than the cap.
    """
    cap, total = int(cap_mib * 2**20), total_memory(device())
    if total is not None and cap > total:
        return {"device_is_smaller": True}
    model, way = decoder(shape, tuning), way_of(method)

    def held(length: int) -> int | None:
        """Bytes that a step holds; None where they are more than the cap."""
        ids = batch_of(model, 1, length)
        reset_reserved()
        try:
            with training(model, way) as trained:
                trained.step(batch_of(model, 1, lengths[0]))  # makes the optimizer's state
                report = trained.memory(ids)
        except torch.OutOfMemoryError:
            return None
        reserved = reserved_peak()
        found = report.peak if reserved is None else reserved
        return found if found <= cap else None

    with allocating_at_most(cap):
        return search(held, cap, lengths, time.monotonic() + seconds)


@contextlib.contextmanager
def allocating_at_most(cap: int) -> Iterator[None]:
    """Let CUDA's allocator hold no more; other devices' counts are compared with the cap."""
    if device().type == "cuda":
        torch.cuda.set_per_process_memory_fraction(cap / (total_memory(device()) or cap))
    try:
        yield
    finally:
        if device().type == "cuda":
            torch.cuda.set_per_process_memory_fraction(1.0)
        reset_reserved()


def search(
    held: Callable[[int], int | None], cap: int, lengths: tuple[int, int, int], end: float
) -> dict[str, Any]:
    """Find the longest length that fits, where bytes grow with it about in a line.

    Args:
        held: Bytes at a length, None where they are too many.
        cap: The most.
        lengths: The shortest that is tried, the longest, and the grid between them.
        end: When to try no other, on time's monotonic clock.
    """
    shortest, most, grid = lengths
    known: list[tuple[int, int]] = []
    fits, fails = 0, most + grid
    guess = shortest
    tried = 0
    while fits < guess < fails and (time.monotonic() < end or not tried):
        tried += 1
        bytes_held = held(guess)
        if bytes_held is None:
            fails = guess
        else:
            fits = guess
            known.append((guess, bytes_held))
        guess = next_guess(known, cap, fits, fails, grid)
    return {
        "longest": fits,
        "too_long": fails if fails <= most else None,
        "tried": tried,
        "exact": fails - fits <= grid,
    }


def next_guess(known: list[tuple[int, int]], cap: int, fits: int, fails: int, grid: int) -> int:
    """The next length to try: where a line through two known ones meets the cap."""
    if not known:
        return 0  # not even the shortest fits
    if len(known) == 1:
        guess = 2 * fits
    else:
        (a, at_a), (b, at_b) = known[-2:]
        slope = max((at_b - at_a) / (b - a), 1.0)
        guess = int(b + (cap - at_b) / slope)
    if guess >= fails:  # more than in a line
        guess = (fits + fails) // 2
    return max(guess // grid * grid, fits + grid)
