"""Reports: read, written, compared."""

import dataclasses

import pytest

from tokenseek_common.memory import MemoryReport, format_bytes

PLAIN = MemoryReport(
    source="ledger of storages",
    device="cpu",
    peak=4 * 2**20,
    live=2**20,
    live_before=2**20,
    working=2 * 2**20,
    kinds={"parameters": 2**20, "activations": 3 * 2**20},
    working_kinds={"parameters": 2**20, "activations": 2 * 2**20},
    modules={"": {"parameters": 2**20}, "up": {"activations": 3 * 2**20}},
)
SMALL = dataclasses.replace(
    PLAIN, peak=2 * 2**20, working=2**19, kinds={"parameters": 2**20, "gradients": 2**20}
)
BARE = MemoryReport(source="allocator of cuda:0", device="cuda:0", peak=10, live=0)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (2**20 - 1, "1.0 MiB"),
        (13_107_200, "12.5 MiB"),
        (3 * 2**30, "3.0 GiB"),
        (5000 * 2**40, "5000.0 TiB"),
        (-2048, "-2.0 KiB"),
    ],
)
def test_bytes_are_written_in_the_unit_that_people_read(count: int, text: str) -> None:
    assert format_bytes(count) == text


@pytest.mark.parametrize("report", [PLAIN, SMALL, BARE])
def test_json_gives_the_same_report_back(report: MemoryReport) -> None:
    assert MemoryReport.from_json(report.to_json()) == report


def test_json_must_be_an_object() -> None:
    with pytest.raises(ValueError, match=r"^text \(list\) must be a JSON object; pass what to_js"):
        MemoryReport.from_json("[]")


@pytest.mark.parametrize("text", ["{}", BARE.to_json()[:-1] + ', "colour": 1}'])
def test_json_must_have_the_fields_of_a_report(text: str) -> None:
    with pytest.raises(ValueError, match=r"^fields \(\[.*\]\) must contain \['device', "):
        MemoryReport.from_json(text)


def test_a_report_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        PLAIN.peak = 0  # type: ignore[misc]  # that is the point


def test_the_table_is_aligned() -> None:
    assert PLAIN.table(modules=2) == "\n".join(
        [
            "ledger of storages, cpu",
            "peak           4.0 MiB",
            "added          3.0 MiB",
            "live at entry  1.0 MiB",
            "live at exit   1.0 MiB",
            "working        2.0 MiB",
            "",
            "kind         at the peak  share  at the working peak",
            "parameters       1.0 MiB  25.0%              1.0 MiB",
            "activations      3.0 MiB  75.0%              2.0 MiB",
            "",
            "module  at the peak  share",
            "up          3.0 MiB  75.0%",
            "(root)      1.0 MiB  25.0%",
        ]
    )


def test_the_table_leaves_out_what_is_not_known() -> None:
    assert "working" not in BARE.table(modules=3)
    assert "kind" not in BARE.table()


def test_the_count_of_modules_must_not_be_negative() -> None:
    with pytest.raises(ValueError, match=r"^modules \(-1\) must not be negative; use 0 to list no"):
        PLAIN.table(modules=-1)


def test_a_share_is_ours_of_theirs() -> None:
    assert SMALL.share_of(PLAIN) == 0.5
    assert SMALL.share_of(PLAIN, "working") == 0.25
    assert SMALL.share_of(PLAIN, "added") == pytest.approx(1 / 3)
    assert SMALL.share_of(PLAIN, "live") == 1.0


def test_a_share_needs_a_known_figure_on_both_sides() -> None:
    with pytest.raises(ValueError, match=r"^working \(None\) must be known; measure this side"):
        BARE.share_of(PLAIN, "working")
    with pytest.raises(ValueError, match=r"^working \(None\) of the baseline must be positive; "):
        PLAIN.share_of(BARE, "working")
    with pytest.raises(ValueError, match=r"^live \(0\) of the baseline must be positive; "):
        PLAIN.share_of(BARE, "live")
    with pytest.raises(ValueError, match=r"^figure \('kinds'\) must be one of \('peak', "):
        PLAIN.share_of(PLAIN, "kinds")


def test_a_difference_has_every_figure_and_every_kind() -> None:
    diff = SMALL.diff(PLAIN)
    assert diff.differences == {
        "peak": -2 * 2**20,
        "added": -2 * 2**20,
        "live": 0,
        "working": -3 * 2**19,
        "parameters": 0,
        "gradients": 2**20,
        "activations": -3 * 2**20,
    }
    assert diff.shares["working"] == 0.25
    assert diff.shares["gradients"] is None


def test_a_difference_leaves_out_what_one_side_does_not_know() -> None:
    assert set(BARE.diff(PLAIN).differences) == {"peak", "added", "live"}


def test_the_table_of_a_difference_names_both_sources() -> None:
    assert SMALL.diff(BARE).table() == "\n".join(
        [
            "ours: ledger of storages, cpu",
            "theirs: allocator of cuda:0, cuda:0",
            "",
            "          ours  theirs  difference  ours / theirs",
            "peak   2.0 MiB    10 B     2.0 MiB    20971520.0%",
            "added  1.0 MiB    10 B     1.0 MiB    10485760.0%",
            "live   1.0 MiB     0 B     1.0 MiB              -",
        ]
    )
