"""One look for the command lines: options, outcomes, tables, progress and output folders."""

try:
    import rich as _rich  # noqa: F401 - only looked for here
    import tyro as _tyro  # noqa: F401 - the same
except ImportError as error:
    raise ImportError(
        f'tokenseek_common.cli needs {error.name}: pip install "tokenseek-common[cli]"'
    ) from error

from tokenseek_common.cli._checks import check_counts, check_positive, check_shares
from tokenseek_common.cli._console import Console
from tokenseek_common.cli._device import DtypeName, first_device, resolve_device, resolve_dtype
from tokenseek_common.cli._folders import check_folder, fresh_folder
from tokenseek_common.cli._options import CommonOptions, RunSettings
from tokenseek_common.cli._progress import Progress
from tokenseek_common.cli._run import Command, run

__all__ = [
    "Command",
    "CommonOptions",
    "Console",
    "DtypeName",
    "Progress",
    "RunSettings",
    "check_counts",
    "check_folder",
    "check_positive",
    "check_shares",
    "first_device",
    "fresh_folder",
    "resolve_device",
    "resolve_dtype",
    "run",
]
