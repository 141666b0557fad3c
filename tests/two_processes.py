"""Starts what a test needs two processes for, once for all that they are to do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

import torch
import torch.distributed as dist


def results_of_two(worker: Path, folder: Path) -> list[dict[str, Any]]:
    """Run `python <worker> RANK STORE FOLDER` twice, and load the `RANK.pt` that each leaves.

    Starting them takes longer than what they do: one pair should do all that a test file asks.
    """
    # The processes find what the tests find.
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, worker, str(rank), folder / "store", folder],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    # Far longer than they take, so that a busy machine fails no test, and a hung one does end.
    errors = [process.communicate(timeout=600)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], "\n".join(errors)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


def leave() -> NoReturn:
    """End such a process once its results are saved.

    torch's caches keep a mesh of FSDP2, and with it gloo's threads, until the interpreter ends,
    which they at times abort.
    """
    dist.destroy_process_group()
    os._exit(0)
