"""One adapter on a mixture of tasks, a stream of them or few samples: runs what is not recorded.

Every run is a line of a file under benchmarks/results/mept/mixture and is not run again.
"""

from __future__ import annotations

import argparse
import sys

from mixture_plan import facts, missing, write
from mixture_run import run


def main() -> None:
    """Run what is missing, one after another, until the time is over."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--most", type=int, default=None, help="Stop after so many runs.")
    options = parser.parse_args()
    facts()
    done = 0
    while done != options.most and (cell := next(missing(), None)) is not None:
        found = run(cell)
        write(cell, found)
        done += 1
        test = found.get("test") or found.get("test_score") or found["matrix"][-1]
        shown = {"dev": found["dev_score"], "test": test, "seconds": found["seconds"]}
        sys.stdout.write(f"{cell.group} {cell.name} {shown}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
