"""MEPT beside other ways of tuning, on real tasks: runs what is not recorded yet.

Rates are chosen by the mean dev score over the tasks that can tell, with the first shape of a
method and seed 0; shapes by that over all tasks, at this rate; what is reported is three seeds of
the chosen. Every run is a file under benchmarks/results/mept/comparison and is not run again, so
that a comparison which was cut off goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from typing import Any

from comparison_models import SETTINGS
from comparison_plan import Plan, path_of
from comparison_run import Cell, run


def missing(names: list[str]) -> list[Cell]:
    """The cells that can be run now, in order."""
    cells = [cell for name in names for cell in Plan(SETTINGS[name]).cells()]
    return [
        cell
        for cell in {path_of(cell): cell for cell in cells}.values()
        if not path_of(cell).exists()
    ]


def record(cell: Cell, figures: dict[str, Any]) -> None:
    """Write what a cell came to; a reader never sees half of it."""
    path = path_of(cell)
    path.parent.mkdir(parents=True, exist_ok=True)
    written = path.with_suffix(".new")
    written.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    written.replace(path)
    score, seconds = figures["dev_score"], figures["training_seconds"]
    sys.stdout.write(f"{cell.setting} {cell.task} {cell.name}: dev {score:.3f}, {seconds} s\n")
    sys.stdout.flush()


def main() -> None:
    """Run what is missing, in as many processes as asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--settings", nargs="+", default=list(SETTINGS), choices=list(SETTINGS))
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    options = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.workers, mp_context=context) as pool:
        running: dict[Future[dict[str, Any]], Cell] = {}
        while True:
            # One at a time: what is chosen next depends on what was recorded.
            for cell in missing(options.settings):
                if len(running) < options.workers and cell not in running.values():
                    running[pool.submit(run, cell)] = cell
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                record(running.pop(future), future.result())


if __name__ == "__main__":
    main()
