from __future__ import annotations

import json
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import pytest
import torch

from tokenseek_common.cli import Console


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


@dataclass
class Streams:
    out: StringIO
    err: StringIO

    def console(self, *, quiet: bool = False, json: bool = False) -> Console:
        return Console(quiet=quiet, json=json, stdout=self.out, stderr=self.err)


@pytest.fixture
def streams() -> Streams:
    return Streams(StringIO(), StringIO())


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Streams:
    monkeypatch.setenv("TERM", "xterm")
    return Streams(Terminal(), Terminal())


def lines(stream: StringIO) -> list[str]:
    return [line.rstrip() for line in stream.getvalue().splitlines() if line.strip()]


def test_a_table_aligns_numbers_to_the_right_and_takes_text_as_it_is(streams: Streams) -> None:
    rows = [["[red]weights", 12.3456789, 1], ["activations", 1e-9, 200]]
    streams.console().table("Memory [0]", ["part", "MiB", "count"], rows)
    assert lines(streams.out) == [
        "Memory [0]",
        "  part             MiB   count",
        " ──────────────────────────────",
        "  [red]weights   12.35       1",
        "  activations    1e-09     200",
    ]


def test_a_table_without_rows_is_its_headings(streams: Streams) -> None:
    streams.console().table("Memory", ["part", "MiB"], [])
    assert lines(streams.out)[:2] == ["Memory", "  part   MiB"]


def test_a_long_line_is_not_folded_in_a_file(streams: Streams) -> None:
    streams.console().print("word " * 100)
    streams.console().note("word " * 100)
    streams.console().error("word " * 100)
    assert len(lines(streams.out)) == 1
    assert len(lines(streams.err)) == 2


def test_text_is_printed_as_it_is(streams: Streams) -> None:
    streams.console().print("[bold]a[/bold]", 1, [2])
    streams.console().note("see [1]")
    assert (streams.out.getvalue(), streams.err.getvalue()) == (
        "[bold]a[/bold] 1 [2]\n",
        "see [1]\n",
    )


def test_quiet_leaves_errors(streams: Streams) -> None:
    console = streams.console(quiet=True)
    console.print("a")
    console.note("b")
    console.table("c", ["d"], [["e"]])
    with console.progress("f", total=1) as progress:
        progress.advance()
    console.result({"g": 1})
    console.error("h")
    assert (streams.out.getvalue(), streams.err.getvalue()) == ("", "error: h\n")


@dataclass
class Loss:
    step: int
    value: float


def test_a_result_is_strict_json(streams: Streams) -> None:
    streams.console(json=True).result(
        {
            "path": Path("a/b"),
            "losses": (Loss(1, 0.5), Loss(2, float("nan"))),
            "tensor": torch.tensor([1.0, float("inf")]),
            "scalar": torch.tensor(3),
            "dtype": torch.float32,
            "on": True,
            "none": None,
            "nested": {1: "é"},
        }
    )
    assert json.loads(streams.out.getvalue()) == {
        "path": "a/b",
        "losses": [{"step": 1, "value": 0.5}, {"step": 2, "value": None}],
        "tensor": [1.0, None],
        "scalar": 3,
        "dtype": "torch.float32",
        "on": True,
        "none": None,
        "nested": {"1": "é"},
    }


def test_a_result_is_given_once(streams: Streams) -> None:
    console = streams.console()
    console.result({"a": 1})
    with pytest.raises(RuntimeError) as error:
        console.result({"b": 2})
    assert str(error.value) == "result must be given once; gather the values in one mapping"


@pytest.mark.parametrize(("total", "told"), [(1000, 10), (25, 10), (3, 3), (0, 0), (None, 10)])
def test_progress_in_a_file_is_about_ten_lines(
    total: int | None, told: int, streams: Streams
) -> None:
    steps = 1000 if total is None else total
    with streams.console().progress("training", total) as progress:
        for _ in range(steps):
            progress.advance()
    assert len(lines(streams.err)) == told
    assert streams.out.getvalue() == ""
    assert progress.done == steps


def test_a_line_of_progress_tells_the_figures(streams: Streams) -> None:
    with streams.console().progress("training", 10) as progress:
        progress.advance(10, loss=0.123456, rate=1e-5)
    (line,) = lines(streams.err)
    assert line == "training 10/10  0 s  loss 0.1235  rate 1e-05"


def test_progress_on_a_terminal_is_a_bar(terminal: Streams) -> None:
    with terminal.console().progress("training [1]", 4) as progress:
        progress.advance(3, loss=0.5)
    shown = terminal.err.getvalue()
    assert "training [1]" in shown
    assert "3/4" in shown
    assert "loss 0.5" in shown


def test_progress_ends_with_the_error_of_its_body(terminal: Streams) -> None:
    with (
        pytest.raises(ValueError, match="broken"),
        terminal.console().progress("training", 4),
    ):
        raise ValueError("broken")
    # The cursor, hidden under the bar, is back.
    assert terminal.err.getvalue().rstrip().endswith("\x1b[?25h")


def test_json_sends_tables_to_stderr_and_silences_progress(streams: Streams) -> None:
    console = streams.console(json=True)
    console.table("Memory", ["part"], [["weights"]])
    with console.progress("reading", total=1) as progress:
        progress.advance()
    assert streams.out.getvalue() == ""
    assert "Memory" in streams.err.getvalue()
    assert "reading" not in streams.err.getvalue()


def test_a_muted_console_tells_errors_alone() -> None:
    stdout, stderr = StringIO(), StringIO()
    console = Console(json=True, stdout=stdout, stderr=stderr)
    console.mute()
    console.note("a note")
    console.table("Table", ["a"], [[1]])
    console.result({"a": 1})
    console.error("what failed")
    assert stdout.getvalue() == ""
    assert stderr.getvalue() == "error: what failed\n"
