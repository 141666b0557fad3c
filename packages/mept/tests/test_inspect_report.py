from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
from PIL import Image

from mept import RoutingRecord
from mept.inspect import (
    RoutingReport,
    count_transitions,
    draw_load,
    draw_overlap,
    draw_paths,
    draw_projection,
    expert_load,
    expert_paths,
    routing_report,
    silhouette,
)
from mept.inspect._figures import png
from recorded import random_record

DRAWN = [draw_load, draw_overlap, draw_paths, draw_projection]
TASKS = ("rte", "cb", "rte", "boolq", "cb", "rte")


def test_groups_are_in_alphabetical_order_and_samples_in_their_own() -> None:
    report = routing_report(random_record(TASKS))
    assert report.sizes == {"boolq": 1, "cb": 2, "rte": 3}
    assert report.groups.tolist() == [2, 1, 2, 0, 1, 2]


@pytest.mark.parametrize("top_k", [1, 2])
def test_a_report_holds_the_figures_of_its_record(top_k: int) -> None:
    record = random_record(TASKS, layers=(0, 2), top_k=top_k)
    report = routing_report(record)
    assert report.layers == (0, 2)
    assert torch.equal(report.load, expert_load(record.chosen, 4))
    shares = torch.tensor([1, 2, 3]).double() / 6
    torch.testing.assert_close((report.group_load * shares[:, None, None]).sum(0), report.load)
    paths = expert_paths(record.chosen)
    assert torch.equal(report.transitions.sum(0), count_transitions(paths, 4))
    assert sum(report.paths.values()) == 6
    p = record.probabilities
    torch.testing.assert_close(report.router_entropy, -(p * p.log()).sum(-1).mean(1))
    assert report.silhouette[1] == pytest.approx(silhouette(record.pooled[1], report.groups))
    assert report.projection.shape == (2, 6, 2)


def test_the_share_of_active_units_may_be_chosen() -> None:
    record = random_record(TASKS)
    few, many = (routing_report(record, active_share=share).overlap for share in (0.1, 0.9))
    assert (few[:, 0, 2] < many[:, 0, 2]).all()


@pytest.mark.parametrize("share", [0, 1, 1.5])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="active_share") as refused:
        routing_report(random_record(TASKS), active_share=share)
    assert str(refused.value) == (
        f"active_share ({share}) must be above 0 and below 1; 0.1 is usual"
    )


def test_an_empty_record_is_refused() -> None:
    with pytest.raises(ValueError, match="must hold a pass"):
        routing_report(RoutingRecord("default", (0,)))


def test_the_summary_is_json_by_layer_and_group() -> None:
    report = routing_report(random_record(TASKS))
    summary = json.loads(json.dumps(report.summary, allow_nan=False))
    assert summary["samples"] == {"boolq": 1, "cb": 2, "rte": 3}
    assert summary["groups"] == list(TASKS)
    layer = summary["layers"][2]
    assert layer["layer"] == 2
    assert layer["load"] == report.load[2].tolist()
    assert layer["group_load"]["cb"] == report.group_load[1, 2].tolist()
    assert layer["overlap"]["cb"]["rte"] == float(report.overlap[2, 1, 2])
    assert layer["mutual_information"] == float(report.mutual_information[2])
    assert layer["dead"] == list(report.dead[2])
    assert [tuple(path["path"]) for path in summary["paths"]] == list(report.paths)
    assert summary["transitions"]["rte"] == report.transitions[2].tolist()


def test_of_a_single_group_the_summary_leaves_open_how_far_apart_it_is() -> None:
    summary = routing_report(random_record(["all"] * 4)).summary
    assert summary["layers"][0]["silhouette"] is None
    assert summary["layers"][0]["centroid_accuracy"] is None
    assert summary["layers"][0]["mutual_information"] == 0


RECORDS: dict[str, Callable[[], RoutingRecord]] = {
    "tasks": lambda: random_record(TASKS * 5),
    "single": lambda: random_record(["all"], layers=[0], experts=1),
    "many": lambda: random_record(
        [f"{name:02}" for name in range(11)] * 3, layers=range(9), experts=12, top_k=3
    ),
    "long": lambda: random_record(["$x_1$", "a label that is a whole sentence", "_"] * 3),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", RECORDS)
@pytest.mark.parametrize("draw", DRAWN, ids=lambda draw: draw.__name__)
def test_pictures_are_drawn_whatever_there_is_to_see(
    draw: Callable[[RoutingReport], Any], kind: str
) -> None:
    with Image.open(io.BytesIO(png(draw(routing_report(RECORDS[kind]()))))) as picture:
        picture.load()
        assert picture.format == "PNG"
        assert min(picture.size) > 200
        assert len(picture.convert("RGB").getcolors(1 << 20) or ()) > 10, "something is on it"


def texts(figure: Any) -> set[str]:
    from matplotlib.text import Text

    return {text.get_text() for text in figure.findobj(Text)}


def test_load_is_written_in_per_cent_and_nothing_where_there_is_none() -> None:
    report = routing_report(random_record(["a"] * 400, layers=[3], experts=3))
    report.load[0] = torch.tensor([0.998, 0.002, 0.0])
    assert {"all, 400 samples", "100", "<1", "3"} <= texts(draw_load(report))
    assert len(draw_load(report).axes[0].texts) == 2


def test_groups_beyond_the_largest_eight_share_a_look() -> None:
    names = [f"{name:02}" for name in range(10) for _ in range(name + 1)]
    report = routing_report(random_record(names))
    for draw in (draw_paths, draw_projection):
        labels = [text.get_text() for text in draw(report).legends[0].get_texts()]
        assert labels == [*(f"{name:02}" for name in range(2, 10)), "others"]
    assert "00, 1" not in texts(draw_load(report))


def test_a_name_is_short_and_no_formula() -> None:
    found = texts(draw_load(routing_report(RECORDS["long"]())))
    assert r"\$x_1\$, 3" in found
    assert "a label that is a whole…, 3" in found


@pytest.mark.parametrize("draw", DRAWN, ids=lambda draw: draw.__name__)
def test_matplotlib_is_named_where_it_is_absent(
    draw: Callable[[RoutingReport], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    report = routing_report(random_record(TASKS))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="matplotlib") as refused:
        draw(report)
    assert str(refused.value) == (
        'pictures (png) must be drawn by matplotlib, which is absent; pip install "mept[plot]"'
    )


def test_no_picture_is_kept_by_pyplot() -> None:
    assert draw_load(routing_report(random_record(TASKS))).canvas.manager is None
