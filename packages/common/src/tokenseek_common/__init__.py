"""What tokenseek-core, mept and promotion-flow share.

The subpackages are imported one by one: ``tokenseek_common.cli`` (one look for three command
lines), ``tokenseek_common.data`` (records to batches), ``tokenseek_common.memory`` (who holds the
bytes), ``tokenseek_common.rows`` (which rows carry gradient), ``tokenseek_common.training`` (around
the Trainer of transformers), ``tokenseek_common.tuning`` (what is trained, saved, and did it move)
and ``tokenseek_common.weights`` (weights in installed wheels).
"""

from importlib.metadata import version

from tokenseek_common._errors import InputError, RunError
from tokenseek_common._files import replacing
from tokenseek_common._interrupts import interruptible

__all__ = ["InputError", "RunError", "__version__", "interruptible", "replacing"]

__version__ = version("tokenseek-common")
