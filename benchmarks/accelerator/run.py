"""What our libraries do on an accelerator: whether they are right, and what they cost and teach.

Needs torch, transformers and peft, and of our packages only the sources beside it; what else a cell
needs and does not find, it says, and is passed over. Each cell is a file under
benchmarks/results/accelerator/<device>, measured in a process of its own that is ended when it
hangs; what is there already is not measured again, so a second call goes on where the time ran out.
At the end the tables are printed, and everything is in summary.json. A check that does not hold
ends with exit code 1.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))

from accelerator.plan import FULL, SECTIONS, TOY, Cell, plan
from accelerator.records import RESULTS, SUMMARY, Record, folder_name, recorded, write
from accelerator.report import failed_checks, report
from accelerator.schedule import Schedule
from accelerator.worker import Answer, Worker

ENVIRONMENT = "accelerator.records:environment"
LEAST_SECONDS = 5.0
"""Time left under which nothing is begun."""


class Session:
    """One call: measures until the time is over.

    Args:
        schedule: What is to be measured.
        records: What is there already, by name; takes what is measured.
        environment: Of every record.
        folder: Where records go.
        end: When to stop, on time's monotonic clock.
        workers: Processes; more than one run only cells that may run beside others.
    """

    def __init__(
        self,
        schedule: Schedule,
        records: dict[str, Record],
        environment: Record,
        folder: Path,
        end: float,
        workers: list[Worker],
    ) -> None:
        self._schedule, self._records = schedule, records
        self._environment, self._folder = environment, folder
        self._end = end
        self._free = workers
        self._running: dict[Future[Answer], tuple[Cell, Worker]] = {}

    def run(self) -> None:
        """Measure cell after cell; those that may, side by side."""
        with ThreadPoolExecutor(max_workers=len(self._free)) as threads:
            while True:
                while self._free and (cell := self._next()):
                    worker = self._free.pop(0)
                    if not cell.together:
                        for other in self._free:  # which would hold memory of the device
                            other.close()
                    asked = threads.submit(
                        worker.ask, cell.function, cell.arguments, limit=cell.limit, end=self._end
                    )
                    self._running[asked] = cell, worker
                if not self._running:
                    return
                done, _ = wait(self._running, return_when=FIRST_COMPLETED)
                for ended in done:
                    cell, worker = self._running.pop(ended)
                    self._free.insert(0, worker)
                    self._take(cell, ended.result())

    def _left(self) -> float:
        return self._end - time.monotonic()

    def _next(self) -> Cell | None:
        """A cell to begin now, beside those that run."""
        beside = [cell for cell, _ in self._running.values()]
        if self._left() < LEAST_SECONDS or not all(cell.together for cell in beside):
            return None
        return self._schedule.take(self._left(), together=bool(beside))

    def _take(self, cell: Cell, answer: Answer) -> None:
        """Record what came of a cell, and say it in a line."""
        if answer.kind == "absent":
            say(f"{cell.section}: passed over what {cell.function} measures, {answer.reason}")
            self._schedule.pass_over(cell.function)
            return
        cut_off = answer.kind == "failed" and self._left() <= 0
        if cut_off:
            self._schedule.put_back(cell)
            say(f"{cell.name}: the time is over; the next call measures it")
            return
        record = {"environment": self._environment, "took_seconds": round(answer.seconds, 2)}
        record |= {"failed": answer.reason} if answer.kind == "failed" else answer.figures
        write(self._folder / f"{cell.name}.json", record)
        self._records[cell.name] = record
        write(self._folder / SUMMARY, self._records)  # the call itself may be cut off
        if answer.kind == "measured":
            self._schedule.took(cell, answer.seconds)
        say(f"{cell.name}: {answer.reason or f'{answer.seconds:.1f} s'}")


def say(line: str) -> None:
    """A line for whoever waits."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main(arguments: list[str] | None = None) -> int:
    """Measure what is missing, and report all that is there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=8.0, help="after which it ends")
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=SECTIONS)
    parser.add_argument("--output", type=Path, help="folder of the records")
    parser.add_argument("--toy", action="store_true", help="sizes that a CPU takes in a minute")
    parser.add_argument("--retry", action="store_true", help="measure again what failed")
    parser.add_argument("--together", type=int, default=3, help="trainings at a time")
    options = parser.parse_args(arguments)
    end = time.monotonic() + 60 * options.minutes
    workers = [Worker(ENVIRONMENT) for _ in range(options.together)]
    try:
        answer = workers[0].ask(ENVIRONMENT, {}, limit=math.inf, end=end)
        if answer.kind != "measured":
            sys.stderr.write(f"error: {answer.reason}\n")
            return 2
        environment = answer.figures
        device = folder_name(environment["device"]) + ("-toy" if options.toy else "")
        folder = options.output or RESULTS / device
        records = recorded(folder)
        if options.retry:
            records = {name: r for name, r in records.items() if "failed" not in r}
        cells = [c for c in plan(TOY if options.toy else FULL) if c.section in options.sections]
        schedule = Schedule(cells, records)
        Session(schedule, records, environment, folder, end, workers).run()
    finally:
        for worker in workers:
            worker.close()
    say("\n" + report(records))
    if schedule.left:
        say(f"\ncells left for the next call: {len(schedule.left)}")
    failures = failed_checks(records)
    for failure in failures:
        sys.stderr.write(f"error: {failure}\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
