"""The benchmark of an accelerator, on a CPU at toy sizes and with processes that misbehave."""

from __future__ import annotations

import importlib
import inspect
import json
import math
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from workspace import MEMBERS, ROOT

sys.path.append(str(ROOT / "benchmarks"))

from accelerator import counts, longest, report, run, steps
from accelerator.plan import FULL, STEPS, TOY, Cell, Sizes, plan
from accelerator.records import RESULTS, SUMMARY, recorded, write
from accelerator.schedule import Schedule
from accelerator.sources import SourceDistribution, SourceFinder, use_sources
from accelerator.worker import Answer, Worker, call

use_sources()

ENVIRONMENT = {
    "device": "Some Device",
    "memory_bytes": 2**34,
    "python": "3.12.0",
    "cuda": None,
    "torch": "2.11.0",
    "transformers": "5.17.0",
    "peft": "0.21.0",
    "kornia": None,
}
MEASURED = (
    "correctness/tokenseek-llama",
    "correctness/tokenseek-bfloat16",
    "correctness/mept-t5",
    "correctness/promotion-float64",
    "correctness/promotion-float32",
    "correctness/memory-default-10",
    "correctness/counts-dense",
    "correctness/counts-default-10",
    "cost/full-1x32-dense",
    "cost/full-1x32-dense+checkpointing",
    "cost/full-1x32-dense+sixteenth",
    "cost/full-1x32-answers-10+sixteenth",
    "cost/lora-1x32-random-10",
    "cost/longest-0.000977-full-dense",
    "learning/full-paces",
    "learning/full-dense-12",
    "learning/full-dense-6",
    "learning/full-dense+checkpointing-12",
    "learning/full-default-30-12",
    "learning/full-answers-10-12",
    "motion/pair-64x96-float32",
    "motion/training-nano-2x64x96",
)
"""Toy cells that are measured here: of each function, those that show something."""


@pytest.fixture(scope="module")
def records() -> dict[str, dict[str, Any]]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    cells = {cell.name: cell for cell in plan(TOY)}
    found = {}
    for name in MEASURED:
        kind, figures = call(cells[name].function, dict(cells[name].arguments))
        assert kind == "measured", figures
        found[name] = {"environment": ENVIRONMENT, "took_seconds": 1.0} | figures
    torch.set_num_threads(threads)
    return json.loads(json.dumps(found))  # type: ignore[no-any-return]  # as files hold them


@pytest.mark.parametrize("sizes", [FULL, TOY], ids=["full", "toy"])
def test_every_cell_of_the_plan_names_a_function_that_takes_its_arguments(sizes: Sizes) -> None:
    cells = plan(sizes)
    assert len({cell.name for cell in cells}) == len(cells)
    for cell in cells:
        module, name = cell.function.split(":")
        inspect.signature(getattr(importlib.import_module(module), name)).bind(**cell.arguments)


def test_the_toy_cells_stand_for_every_function_of_the_plan() -> None:
    functions = {cell.function for cell in plan(FULL)}
    assert {cell.function for cell in plan(TOY) if cell.name in MEASURED} == functions


def test_checks_hold_on_a_cpu(records: dict[str, dict[str, Any]]) -> None:
    judged = [record for record in records.values() if "holds" in record]
    assert len(judged) == 5
    assert report.failed_checks(records) == []
    exact = records["correctness/tokenseek-llama"]
    assert len(exact["against_cpu"]) == 12
    assert set(exact["against_cpu"].values()) == {0.0}
    assert 0 < max(exact["all_tokens_against_dense"].values()) < 1e-6


def test_a_check_that_does_not_hold_is_told(records: dict[str, dict[str, Any]]) -> None:
    off = records["correctness/mept-t5"] | {"largest": 0.5, "holds": False}
    assert report.failed_checks({"correctness/mept-t5": off}) == [
        "correctness/mept-t5: 0.5 is above 1e-06"
    ]


def test_steps_cost_what_their_methods_promise(records: dict[str, dict[str, Any]]) -> None:
    dense, checkpointed = (
        records[f"cost/full-1x32-{method}"] for method in ("dense", "dense+checkpointing")
    )
    assert checkpointed["working_mib"] < 0.7 * dense["working_mib"]
    assert dense["peak_allocated_mib"] > dense["standing_mib"] > 0
    assert dense["tokens_per_second"] == pytest.approx(32 / dense["seconds"])
    more, fewer = (
        records[f"correctness/counts-{method}"]["operators"] for method in ("default-10", "dense")
    )
    assert more > fewer > 1000
    supervised_end, answers = (
        records[f"cost/full-1x32-{method}+sixteenth"]["working_mib"]
        for method in ("dense", "answers-10")
    )
    assert answers < 0.7 * supervised_end


def test_trainings_learn_and_checkpointing_changes_nothing(
    records: dict[str, dict[str, Any]],
) -> None:
    short, whole, checkpointed, kept, answers = (
        records[f"learning/full-{run}"]["loss"]
        for run in (
            "dense-6",
            "dense-12",
            "dense+checkpointing-12",
            "default-30-12",
            "answers-10-12",
        )
    )
    start = records["learning/full-dense-12"]["start_loss"]
    assert start > short > max(whole, kept, answers)
    assert checkpointed == pytest.approx(whole, abs=1e-4)


def test_the_report_has_a_table_of_everything(records: dict[str, dict[str, Any]]) -> None:
    failed = {"environment": ENVIRONMENT, "failed": "no end within 30 s, in a.py:3 b"}
    text = report.report(records | {"motion/pair-436x1024-float16": failed})
    assert text.startswith("Some Device (16 GiB), Python 3.12.0, torch 2.11.0,")
    for line in (
        "| tokenseek-llama | 1.",
        "| 1 x 32 | dense | 0.",
        "| 0.000977 GiB | All weights | dense | 1",
        "| default-30 | 12 | 3.",
        "| pair, 64x96, float32 | ",
        "- motion/pair-436x1024-float16: no end within 30 s, in a.py:3 b",
    ):
        assert f"\n{line}" in text


def test_losses_are_read_between_dense_trainings() -> None:
    losses = {60: 2.0, 120: 1.5, 240: 1.2}
    assert report.loss_at(losses, 60 * math.sqrt(2)) == "1.750"
    assert report.loss_at(losses, 700) == "at most 1.200"
    assert report.steps_to(losses, 1.35) == f"{120 * math.sqrt(2):.0f}"
    assert report.steps_to(losses, 2.1) == "below 60"
    assert report.steps_to({240: 1.2}, 1.2) == "240"


def test_a_head_in_chunks_has_the_dense_loss_and_gradient() -> None:
    torch.manual_seed(0)
    rows, weight = torch.randn(2500, 8, dtype=torch.float64), torch.randn(11, 8).double()
    targets = torch.randint(11, (2500,))
    found = []
    for loss_of in (steps.plain_chunked_loss, dense_loss):
        table = weight.clone().requires_grad_()
        loss = loss_of(rows, table, targets)
        loss.backward()
        assert table.grad is not None
        found.append((loss.item(), table.grad))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-6)
    assert torch.allclose(found[0][1], found[1][1], atol=1e-7)

    model = steps.decoder("toy", "full")
    ids = steps.batch_of(model, 2, 16)
    for supervised in ("", "+sixteenth"):
        plain, chunked = (
            steps.loss_of(model, ids, steps.way_of(f"{method}{supervised}")).item()
            for method in (STEPS[0], STEPS[2])
        )
        assert chunked == pytest.approx(plain, rel=1e-2)  # bfloat16


def test_waits_of_the_host_are_counted_by_place(monkeypatch: pytest.MonkeyPatch) -> None:
    modes: list[str] = []
    monkeypatch.setattr(counts, "device", lambda: torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", modes.append)

    def step(ids: torch.Tensor) -> None:
        for line in (3, 3, 8):
            message = "called a synchronizing CUDA operation"
            warnings.warn_explicit(message, UserWarning, "/some/where/_head.py", line)
        warnings.warn_explicit("of something else", UserWarning, "/some/where/_head.py", 9)

    waits = counts.host_waits(SimpleNamespace(step=step), torch.zeros(1))  # type: ignore[arg-type]
    assert waits == {"_head.py:3": 2, "_head.py:8": 1}
    assert modes == ["warn", "default"]


def test_kernels_are_told_from_calls_copies_and_annotations(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def event(name: str, kind: str = "CUDA", *, annotation: bool = False) -> SimpleNamespace:
        return SimpleNamespace(
            name=name,
            device_type=SimpleNamespace(name=kind),
            is_user_annotation=annotation,
            time_range=SimpleNamespace(elapsed_us=lambda: 2000.0),
        )

    monkeypatch.setattr(counts, "device", lambda: torch.device("cuda"))
    events = [event("gemm"), event("gemm"), event("softmax"), event("Memcpy HtoD")]
    events += [event("aten::mm", "CPU"), event("cudaLaunchKernel", "CPU")]
    events += [event("Optimizer.step#AdamW.step", annotation=True)]
    assert counts.calls(SimpleNamespace(events=lambda: events)) == {  # type: ignore[arg-type]
        "operators": 1,
        "kernels": 3,
        "kernel_seconds": pytest.approx(0.006),
        "longest_kernels": {"gemm": pytest.approx(0.004), "softmax": pytest.approx(0.002)},
    }


def test_a_cap_is_a_share_of_the_device_and_is_taken_off(monkeypatch: pytest.MonkeyPatch) -> None:
    shares: list[float] = []
    monkeypatch.setattr(longest, "device", lambda: torch.device("cuda"))
    monkeypatch.setattr(longest, "total_memory", lambda _: 80 * 2**30)
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", shares.append)
    with longest.allocating_at_most(24 * 2**30):
        assert shares == [pytest.approx(0.3)]
    assert shares[1:] == [1.0]


def dense_loss(rows: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.cross_entropy(rows @ weight.T, targets)


@pytest.mark.parametrize(("power", "tries"), [(1.0, 5), (1.4, 12)])
def test_the_longest_length_is_found_in_a_few_tries(power: float, tries: int) -> None:
    def held(length: int) -> int | None:
        found = int(1000 + 3 * length**power)
        return found if found <= 300_000 else None

    found = longest.search(held, 300_000, (2048, 262_144, 1024), math.inf)
    expected = int((299_000 / 3) ** (1 / power)) // 1024 * 1024
    assert found["longest"] == expected
    assert found["too_long"] == expected + 1024
    assert found["tried"] <= tries


def test_a_memory_that_fits_not_even_the_shortest_is_told() -> None:
    found = longest.search(lambda _: None, 1, (32, 256, 32), math.inf)
    assert found == {"longest": 0, "too_long": 32, "tried": 1, "exact": True}


def test_sources_say_the_version_that_an_installation_would() -> None:
    for member in MEMBERS:
        source = SourceDistribution(member.folder / "pyproject.toml")
        finder = SourceFinder([source])
        (found,) = finder.find_distributions(SourceFinder.Context(name=member.distribution))
        assert found.version == member.version
        assert list(finder.find_distributions(SourceFinder.Context(name="torch"))) == []


def cell(name: str, seconds: float, function: str = "m:f", together: bool = False) -> Cell:
    return Cell(name, function, {}, seconds, together)


def test_expectations_follow_what_earlier_cells_took() -> None:
    cells = [cell("a/1", 2), cell("a/2", 3), cell("b/1", 4)]
    schedule = Schedule(cells, {"a/1": {"took_seconds": 6.0}})
    assert [schedule.expected(c) for c in cells[1:]] == [9, 4]
    assert schedule.take(5, together=False) == cells[2]  # the first would not end in time
    assert schedule.take(9, together=True) is None
    assert schedule.take(9, together=False) == cells[1]
    assert schedule.left == ()


class Scripted(Worker):
    """Answers without a process."""

    def __init__(self, answers: dict[str, Answer]) -> None:
        super().__init__("m:warm_up")
        self.answers = answers
        self.asked: list[str] = []

    def ask(self, function: str, arguments: Any, *, limit: float, end: float) -> Answer:
        self.asked.append(function)
        return self.answers[function]


def session(folder: Path, cells: list[Cell], workers: list[Worker], seconds: float = 60) -> None:
    found = recorded(folder)
    end = time.monotonic() + seconds
    run.Session(Schedule(cells, found), found, ENVIRONMENT, folder, end, workers).run()


def test_a_second_call_goes_on_with_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cells = [cell("a/1", 1, "m:good"), cell("a/2", 1, "m:bad"), cell("b/1", 1, "m:none")]
    answers = {
        "m:good": Answer("measured", {"x": 1}, "", 2.0),
        "m:bad": Answer("failed", {}, "it broke", 0.1),
        "m:none": Answer("absent", {}, "kornia is not installed", 0.1),
    }
    worker = Scripted(answers)
    session(tmp_path, [*cells, cell("b/2", 1, "m:none")], [worker])
    assert worker.asked == ["m:good", "m:bad", "m:none"]
    assert capsys.readouterr().out.splitlines() == [
        "a/1: 2.0 s",
        "a/2: it broke",
        "b: passed over what m:none measures, kornia is not installed",
    ]
    expected = {
        "a/1": {"environment": ENVIRONMENT, "took_seconds": 2.0, "x": 1},
        "a/2": {"environment": ENVIRONMENT, "took_seconds": 0.1, "failed": "it broke"},
    }
    assert json.loads((tmp_path / SUMMARY).read_text(encoding="utf-8")) == expected

    again = Scripted(answers | {"m:none": Answer("measured", {"y": 2}, "", 1.0)})
    session(tmp_path, cells, [again])
    assert again.asked == ["m:none"]
    assert recorded(tmp_path).keys() == {"a/1", "a/2", "b/1"}


def test_nothing_is_begun_that_would_not_end_in_time(tmp_path: Path) -> None:
    worker = Scripted({"m:f": Answer("measured", {}, "", 1.0)})
    session(tmp_path, [cell("a/1", 100), cell("b/1", 10)], [worker], seconds=20)
    assert recorded(tmp_path).keys() == {"b/1"}


def test_a_cell_that_the_end_cuts_off_is_left_to_the_next_call(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]

    class Late(Scripted):
        def ask(self, function: str, arguments: Any, *, limit: float, end: float) -> Answer:
            clock[0] = end + 0.1
            return super().ask(function, arguments, limit=limit, end=end)

    monkeypatch.setattr(run, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    schedule = Schedule([cell("a/1", 1)], {})
    late = Late({"m:f": Answer("failed", {}, "no end within 9 s", 9.0)})
    run.Session(schedule, {}, ENVIRONMENT, tmp_path, 9.0, [late]).run()
    assert capsys.readouterr().out == "a/1: the time is over; the next call measures it\n"
    assert [left.name for left in schedule.left] == ["a/1"]
    assert recorded(tmp_path) == {}


def test_a_summary_that_came_alone_is_enough_to_go_on(tmp_path: Path) -> None:
    write(tmp_path / SUMMARY, {"a/1": {"x": 1}})
    write(tmp_path / "a/2.json", {"x": 2})
    assert recorded(tmp_path) == {"a/1": {"x": 1}, "a/2": {"x": 2}}


MISBEHAVING = """
import os, time

def fine(value):
    return {"value": value}

def linger():
    time.sleep(60)

def stumble():
    raise ValueError("no /some/where/file.txt here")

def leave():
    os._exit(3)

def lack():
    import no_such_library
"""


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Worker]:
    (tmp_path / "misbehaving.py").write_text(MISBEHAVING, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    made = Worker("time:monotonic")
    yield made
    made.close()


@pytest.mark.distributed
def test_cells_that_hang_or_break_cost_themselves_alone(worker: Worker) -> None:
    def ask(name: str, limit: float = 600.0, **arguments: Any) -> tuple[str, str]:
        end = time.monotonic() + 600
        answer = worker.ask(f"misbehaving:{name}", arguments, limit=limit, end=end)
        return answer.kind, answer.reason or str(answer.figures)

    assert ask("fine", value=3) == ("measured", "{'value': 3}")
    assert ask("lack") == ("absent", "no_such_library is not installed")
    kind, reason = ask("linger", limit=3.0)  # in which it begins, also on a busy machine
    assert kind == "failed"
    assert reason.startswith("no end within 3 s, in misbehaving.py:8 linger < worker.py:")
    assert ask("stumble") == ("failed", "ValueError: no file.txt here")
    assert ask("leave") == ("failed", "ended with code 3")
    assert ask("fine", value=4) == ("measured", "{'value': 4}")


def test_the_page_is_there_if_and_only_if_something_was_measured() -> None:
    measured = list(RESULTS.glob("*/summary.json"))
    assert report.PAGE.exists() == bool(measured)
    if measured:
        shown = report.PAGE.read_text(encoding="utf-8").split(report.BEGIN)[1]
        assert shown.split(report.END)[0].strip() == report.page()
