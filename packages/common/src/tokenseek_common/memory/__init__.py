"""How much memory a block of code, a training step or a graph needs.

`measure` counts what a device gave out during any block. `ledger` says of a training step which
kinds of memory it held, and which modules held them. `estimate` says the same of a step that never
runs. `saved_for_backward` looks at one reason alone: what autograd keeps. `plot_timeline` draws a
step, and `cuda_snapshot` writes what the allocator of CUDA remembers.
"""

from tokenseek_common._table import format_bytes
from tokenseek_common.memory._estimate import Estimator, estimate
from tokenseek_common.memory._free import free_bytes
from tokenseek_common.memory._ledger import ledger
from tokenseek_common.memory._measure import measure
from tokenseek_common.memory._plot import plot_timeline
from tokenseek_common.memory._reading import Reading
from tokenseek_common.memory._report import MemoryDiff, MemoryReport
from tokenseek_common.memory._saved import saved_for_backward
from tokenseek_common.memory._snapshot import cuda_snapshot
from tokenseek_common.memory._timeline import Timeline

__all__ = [
    "Estimator",
    "MemoryDiff",
    "MemoryReport",
    "Reading",
    "Timeline",
    "cuda_snapshot",
    "estimate",
    "format_bytes",
    "free_bytes",
    "ledger",
    "measure",
    "plot_timeline",
    "saved_for_backward",
]
