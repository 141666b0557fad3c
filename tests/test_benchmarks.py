from __future__ import annotations

import runpy
from typing import Any

from workspace import ROOT


def run_of(module: str) -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "benchmarks" / module / "run.py"), run_name="read_only")


def test_the_tables_in_the_readmes_are_those_of_the_recorded_results() -> None:
    bench = run_of("tokenseek_core")
    records = bench["recorded"]()
    assert records.keys() == {cell.name for cell in bench["CELLS"]}
    for path in bench["READMES"]:
        text = path.read_text(encoding="utf-8")
        shown = text.split(bench["BEGIN"])[1].split(bench["END"])[0]
        assert shown.strip() == bench["table"](records)


def test_recorded_shares_are_within_their_limits() -> None:
    bench = run_of("tokenseek_core")
    assert bench["above_limits"](bench["recorded"]()) == []
