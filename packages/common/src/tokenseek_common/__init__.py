"""What tokenseek-core, mept and promotion-flow share.

The subpackages are imported one by one: ``tokenseek_common.cli`` (one look for three command
lines), ``tokenseek_common.data`` (records to batches) and ``tokenseek_common.memory`` (who holds
the bytes).
"""

from tokenseek_common._errors import InputError, RunError

__all__ = ["InputError", "RunError"]
