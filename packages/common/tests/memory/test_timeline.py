"""One step from its first change to its last, and its picture."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from tokenseek_common import InputError
from tokenseek_common.memory import MemoryReport, ledger, plot_timeline

torch.set_num_threads(1)


def stepped(*, timeline: bool = True) -> MemoryReport:
    net = nn.Sequential(*(nn.Linear(64, 64) for _ in range(3)))
    optimizer = torch.optim.AdamW(net.parameters(), foreach=True)
    batch = torch.ones(32, 64)

    def step() -> None:
        net(batch).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    step()
    with ledger(net, optimizer, timeline=timeline) as reading:
        step()
    return reading.report


def test_the_highest_point_is_the_peak_and_the_ends_are_what_lived_then() -> None:
    report = stepped()
    assert report.timeline is not None
    totals = report.timeline.totals
    assert max(totals) == report.peak
    assert (totals[0], totals[-1]) == (report.live_before, report.live)
    for kind, sizes in report.timeline.kinds.items():
        assert sizes[-1] == report.live_kinds[kind]


def test_the_phases_of_a_step_follow_each_other() -> None:
    timeline = stepped().timeline
    assert timeline is not None
    names = [name for _, name in timeline.phases]
    assert names == ["forward", "backward", "optimizer"]
    starts = [start for start, _ in timeline.phases]
    assert starts == sorted(starts)
    assert starts[0] == 0


def test_a_gradient_that_lands_changes_its_kind_at_once() -> None:
    timeline = stepped().timeline
    assert timeline is not None
    backward, optimizer = timeline.phases[1][0], timeline.phases[2][0]
    gradients = timeline.kinds["gradients"][backward:optimizer]
    assert list(gradients) == sorted(gradients)
    weight, bias = 64 * 64 * 4, 64 * 4
    assert gradients[-1] == 3 * (weight + bias)


def test_a_timeline_is_kept_where_it_is_asked_for_only() -> None:
    assert stepped(timeline=False).timeline is None


def test_json_gives_the_timeline_back() -> None:
    report = stepped()
    assert MemoryReport.from_json(report.to_json()) == report


def test_the_picture_is_a_png(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    plot_timeline(stepped(), tmp_path / "step.png")
    assert (tmp_path / "step.png").read_bytes().startswith(b"\x89PNG")


def test_a_report_without_a_timeline_is_not_drawn(tmp_path: Path) -> None:
    with pytest.raises(InputError) as refusal:
        plot_timeline(stepped(timeline=False), tmp_path / "step.png")
    assert str(refusal.value) == (
        "report (ledger of storages) must have a timeline; keep the books of a step "
        "with ledger(..., timeline=True)"
    )


def test_without_matplotlib_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = stepped()
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(InputError) as refusal:
        plot_timeline(report, tmp_path / "step.png")
    assert str(refusal.value) == (
        "timeline (PNG) must be drawn by matplotlib, which is absent; "
        'pip install "tokenseek-common[plot]"'
    )
