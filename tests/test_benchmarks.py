from __future__ import annotations

import json
import runpy
from typing import Any

import pytest

from mept import MeptConfig
from tokenseek_core import TokenSeekConfig
from tokenseek_core._instances import Instance
from tokenseek_core.inspect import Method
from tokenseek_core.inspect._operations import Sizes, step_operations
from workspace import ROOT


def run_of(module: str) -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "benchmarks" / module / "run.py"), run_name="read_only")


def test_the_tables_of_costs_are_those_of_the_recorded_results() -> None:
    bench = run_of("tokenseek_core")
    records = bench["recorded"]()
    assert records.keys() == bench["GROUPS"].keys()
    for name, group in bench["GROUPS"].items():
        steps = [step["method"] for step in records[name]["steps"]]
        assert steps == [row.method.name for row in group.rows]
        assert records[name].get("adapter", "none") == group.adapter
    for path in bench["PAGES"]:
        text = path.read_text(encoding="utf-8")
        assert text == bench["with_tables"](text)
        assert "| r = 0.1, sampled and injected (the default) |" in text


def test_recorded_shares_are_within_their_limits() -> None:
    bench = run_of("tokenseek_core")
    assert bench["above_limits"](bench["recorded"]()) == []


def test_the_operations_that_are_counted_foretell_the_recorded_times() -> None:
    bench = run_of("tokenseek_core")
    smollm2 = Sizes(layers=30, block_weights=3_538_944, width=576, head_weights=49152 * 576)
    for name, record in bench["recorded"]().items():
        group, s = bench["GROUPS"][name], bench["LENGTH"]
        if group.adapter not in ("none", "lora"):  # what those make of their weights is not counted
            continue
        instance, adapters = Instance(s, round(group.supervised * s)), group.adapter == "lora"
        dense = step_operations(smollm2, instance, Method("dense"), adapters=adapters)
        for row, step in zip(group.rows, record["steps"], strict=True):
            counted = step_operations(smollm2, instance, row.method, adapters=adapters) / dense
            assert step["shares_of_dense"]["cpu_seconds"] == pytest.approx(counted, rel=0.15)


def test_the_page_about_choosing_shows_the_operations_that_are_counted() -> None:
    choosing = runpy.run_path(str(ROOT / "benchmarks/tokenseek_core/choosing.py"))
    text = choosing["PAGE"].read_text(encoding="utf-8")
    assert text == choosing["with_table"](text)


def test_the_estimate_is_within_its_limits() -> None:
    estimate = runpy.run_path(str(ROOT / "benchmarks/tokenseek_core/estimate.py"))
    record = json.loads(estimate["RESULT"].read_text(encoding="utf-8"))
    assert record["limits"] == estimate["LIMITS"]
    assert estimate["above_limits"](record) == []


def test_long_steps_are_within_their_limits() -> None:
    long = runpy.run_path(str(ROOT / "benchmarks/tokenseek_core/long.py"))
    record = json.loads(long["RESULT"].read_text(encoding="utf-8"))
    assert any(way.limits for way in long["WAYS"].values())
    assert long["above_limits"](record) == []
    text = long["PAGE"].read_text(encoding="utf-8")
    assert text == long["with_table"](text)


def test_the_study_shows_its_records_and_its_rule_gives_the_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks/tokenseek_core")
    report = runpy.run_path(str(ROOT / "benchmarks/tokenseek_core/study_report.py"))
    text = report["PAGE"].read_text(encoding="utf-8")
    assert text == report["with_tables"](text)
    config = TokenSeekConfig()
    assert report["default"]() == f"r10-{config.gradient}-{config.selector}"


def test_dense_steps_are_read_off_the_scale_in_the_logarithm_of_the_steps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks/tokenseek_core")
    dense_steps = runpy.run_path(str(ROOT / "benchmarks/tokenseek_core/equivalent_report.py"))[
        "dense_steps"
    ]
    scale = {10: 4.0, 20: 3.0, 80: 2.0}
    assert dense_steps(scale, 3.5) == pytest.approx(200**0.5)
    assert dense_steps(scale, 2.5) == pytest.approx(40)
    ends = [dense_steps(scale, loss) for loss in (5.0, 4.0, 3.0, 2.0, 1.0)]
    assert ends == pytest.approx([10, 10, 20, 80, 80])


def test_the_comparison_of_mept_shows_its_records(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks/mept")
    report = runpy.run_path(str(ROOT / "benchmarks/mept/comparison_report.py"))
    text = report["PAGE"].read_text(encoding="utf-8")
    shown = text.split(report["BEGIN"])[1].split(report["END"])[0]
    assert shown.strip() == report["results"]()
    for setting in report["SETTINGS"].values():
        plan = report["Plan"](setting)
        assert report["complete"](plan) == list(setting.methods)
        assert all(
            report["record_of"](cell)
            for tried in setting.tried
            for cell in plan.tried_cells(*tried)
        )


def test_the_page_of_routers_shows_its_records_and_the_default_is_the_best_of_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks/mept")
    report = runpy.run_path(str(ROOT / "benchmarks/mept/routing_report.py"))
    text = report["PAGE"].read_text(encoding="utf-8")
    assert text == report["with_results"](text)
    default = MeptConfig()
    ours = report["ROUTERS"][report["OURS"]]
    assert ours.settings == {"router": default.router, "router_init": default.router_init}
    dev = {
        name: report["best"](name)[0]["dev_score"]
        for name, _ in report["recorded"]("minilm")
        if name in report["ROUTERS"]
    }
    assert max(dev, key=lambda name: dev[name]) == report["OURS"]


def test_the_page_of_mixtures_shows_its_records(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks/mept")
    report = runpy.run_path(str(ROOT / "benchmarks/mept/mixture_report.py"))
    text = report["PAGE"].read_text(encoding="utf-8")
    assert text == report["with_results"](text)


def test_backward_transfer_is_what_tasks_but_the_last_have_gained_since_they_were_learnt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks/mept")
    report = runpy.run_path(str(ROOT / "benchmarks/mept/mixture_report.py"))
    matrix = [{"a": 0.9, "b": 0.1, "c": 0.2}, {"a": 0.5, "b": 0.8, "c": 0.3}]
    matrix.append({"a": 0.6, "b": 0.6, "c": 0.7})
    run = {"order": ["a", "b", "c"], "matrix": matrix}
    assert report["backward_transfer"](run) == pytest.approx((0.6 - 0.9 + 0.6 - 0.8) / 2)
    assert report["average_accuracy"](run) == pytest.approx((0.6 + 0.6 + 0.7) / 3)
    assert report["learning_accuracy"](run) == pytest.approx((0.9 + 0.8 + 0.7) / 3)


def test_the_interval_of_equal_differences_is_a_point(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks/mept")
    report = runpy.run_path(str(ROOT / "benchmarks/mept/mixture_report.py"))
    runs = [{0: {"test": {"a": at, "b": at}}} for at in (0.75, 0.5)]
    assert report["difference"](*runs, ["a", "b"]) == (25.0, 25.0, 25.0)
    wide = {0: {"test": {"a": 0.75, "b": 0.25}}}
    found, low, high = report["difference"](wide, runs[1], ["a", "b"])
    assert (found, low, high) == pytest.approx((0, -25, 25))


def test_chosen_rates_of_the_comparison_lie_between_two_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks/mept")
    report = runpy.run_path(str(ROOT / "benchmarks/mept/comparison_report.py"))
    for setting in report["SETTINGS"].values():
        plan = report["Plan"](setting)
        for name, method in setting.methods.items():
            assert min(method.rates) < plan.rate(name) < max(method.rates)


def test_the_intervals_of_the_comparison_are_of_the_official_scores(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks/mept")
    report = runpy.run_path(str(ROOT / "benchmarks/mept/comparison_report.py"))
    plan = report["Plan"](report["SETTINGS"]["minilm"])
    runs = {method: report["records"](plan, method) for method in ("mept", "probe")}
    ours, theirs = (report["answered"](runs[method]) for method in runs)
    found, low, high = report["difference"](ours, theirs)
    official = report["mean_score"](runs["mept"]) - report["mean_score"](runs["probe"])
    assert found == pytest.approx(official, abs=1e-6)
    assert low < found < high


def test_the_pages_of_promotion_show_its_records(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks/promotion")
    tables = runpy.run_path(str(ROOT / "benchmarks/promotion/tables.py"))
    shown = {
        "README": "| ProMotion |",
        "FIGURES": "| ProMotion |",
        "BESIDE": "| raft_small |",
        "CARD": "| ProMotion |",
        "EXPORT": "| onnxruntime |",
        "PROTOTYPES": "| assignments |",
        "SEQUENCES": "| 480 frames |",
    }
    for page, column in shown.items():
        text = tables[page].read_text(encoding="utf-8")
        assert text == tables["with_tables"](text)
        assert column in text


def test_the_figures_of_promotion_keep_to_their_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks/promotion")
    limits = runpy.run_path(str(ROOT / "benchmarks/promotion/limits.py"))
    assert limits["above_limits"]() == []
