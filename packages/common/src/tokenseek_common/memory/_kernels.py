"""What kernels on a CPU allocate for themselves, and give back before they return."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch._C._profiler import ProfilerConfig, ProfilerState, _ExperimentalConfig

from tokenseek_common.memory._books import Books


class KernelMemory:
    """Looks at the allocations inside single operations, by torch's own profiler.

    No operation is looked at while another profiler runs in this thread, since there can be one.

    Args:
        observed: whether operations are looked at at all.
    """

    def __init__(self, *, observed: bool) -> None:
        self._observed = observed and hasattr(torch._C._autograd, "_enable_profiler_legacy")
        self._config = ProfilerConfig(
            ProfilerState.CPU,
            report_input_shapes=False,
            profile_memory=True,
            with_stack=False,
            with_flops=False,
            with_modules=False,
            experimental_config=_ExperimentalConfig(),
        )
        self.peak = 0
        """The largest sum of the books and of what one kernel held at that instant, in bytes."""

    @property
    def is_known(self) -> bool:
        """Whether every operation so far was looked at."""
        return self._observed

    @contextlib.contextmanager
    def observe(self, books: Books) -> Iterator[None]:
        """Follows the allocations of one operation.

        Args:
            books: what is held before it.
        """
        if not self._observed:
            yield
            return
        if torch._C._autograd._profiler_enabled():
            self._observed = False
            yield
            return
        before = books.total
        torch._C._autograd._enable_profiler_legacy(self._config)
        try:
            yield
        finally:
            held = largest = 0
            threads: Any = torch._C._autograd._disable_profiler_legacy()
            for event in threads[0]:
                if event.kind() == "memory_alloc":
                    held += event.cpu_memory_usage()
                    largest = max(largest, held)
            self.peak = max(self.peak, before + largest)
