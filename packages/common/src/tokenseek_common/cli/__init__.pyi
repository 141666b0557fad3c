from ._checks import check_counts, check_positive, check_shares
from ._console import Console
from ._device import first_device, resolve_device, resolve_dtype
from ._dtype_name import DtypeName
from ._folders import check_folder, fresh_folder
from ._options import CommonOptions, RunSettings, on_unless
from ._processes import require_one_process
from ._progress import Progress
from ._run import Command, CommandPlace, Commands, run

__all__ = [
    "Command",
    "CommandPlace",
    "Commands",
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
    "on_unless",
    "require_one_process",
    "resolve_device",
    "resolve_dtype",
    "run",
]
