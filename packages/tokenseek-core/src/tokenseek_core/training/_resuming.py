"""Where an interrupted run can go on, if it can."""

from __future__ import annotations

from pathlib import Path

from tokenseek_common import InputError
from tokenseek_common.training import Standing, standing_of
from tokenseek_core.training._run_record import check_processes


def check_resumable(output: Path | None, processes: int) -> Standing:
    """Find where an interrupted run can go on.

    Args:
        output: Its folder.
        processes: How many train.

    Raises:
        InputError: No folder is named, it holds no whole checkpoint, or the run is finished.
    """
    if output is None:
        raise InputError("output (None) must be given with --resume; name the folder of the run")
    folder = output.expanduser()
    if not folder.is_dir():
        raise InputError(
            f"output ({output}) must be the folder of the run that is resumed; "
            "check --output, or leave out --resume"
        )
    check_processes(folder, processes)
    standing = standing_of(folder, processes=processes)
    if standing.checkpoint is None:
        raise InputError(
            f"output ({output}) must hold a whole checkpoint to resume from, and has none; "
            "start anew in another --output, without --resume"
        )
    if standing.step >= standing.steps:
        raise InputError(
            f"output ({output}) must hold an unfinished run, and this one is at its last step; "
            f"its model is in {standing.checkpoint}"
        )
    return standing
