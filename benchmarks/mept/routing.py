"""Routers on a mixture of tasks, one adapter for all: runs what is not recorded yet.

The rate of a router is that of two with the better dev score, by seed 0, and three seeds are run at
it. What is tried besides has one rate and seed 0. Every run is a file under
benchmarks/results/mept/routing and is not run again.
"""

from __future__ import annotations

import argparse
import json
import sys

from routing_plan import STAGES, missing, path_of
from routing_run import run


def main() -> None:
    """Run what is missing, one after another, until the time is over."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stages", nargs="+", default=list(STAGES), choices=list(STAGES))
    options = parser.parse_args()
    while (cell := next(missing(options.stages), None)) is not None:
        figures = run(cell)
        path = path_of(cell)
        path.parent.mkdir(parents=True, exist_ok=True)
        written = path.with_suffix(".new")
        written.write_text(json.dumps(figures) + "\n", encoding="utf-8")
        written.replace(path)
        shown = {
            "dev": round(figures["dev_score"], 3),
            "test": round(figures["test_score"], 3),
            "in use": figures["in_use"],
            "nats": figures["mutual_information"],
            "seconds": figures["training_seconds"],
        }
        sys.stdout.write(f"{cell.mixture} {cell.name} {shown}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
