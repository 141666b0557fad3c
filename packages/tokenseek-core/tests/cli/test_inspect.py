from __future__ import annotations

import importlib.util
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from saved_llama import save_llama, save_records
from tokenseek_core._kept_shares import kept_shares
from tokenseek_core._recorded_step import RecordedStep, ScoreStatistics
from tokenseek_core._token_classes import TokenClass
from tokenseek_core.cli import main


@dataclass(frozen=True)
class Looked:
    """A run that ended well."""

    folder: Path
    told: dict[str, Any]

    @property
    def page(self) -> str:
        return (self.folder / "page.html").read_text()

    @property
    def numbers(self) -> dict[str, Any]:
        numbers: dict[str, Any] = json.loads((self.folder / "inspect.json").read_text())
        return numbers


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_llama(tmp_path_factory.mktemp("model") / "tiny")


def inspected(
    model: Path, folder: Path, capsys: pytest.CaptureFixture[str], *options: str
) -> Looked:
    output = folder / "seen"
    common = ["--model", str(model), "--device", "cpu", "--max-length", "64"]
    assert main(["inspect", *common, "--json", "-o", str(output), "--no-picture", *options]) == 0
    return Looked(output, json.loads(capsys.readouterr().out))


def write_log(path: Path) -> Path:
    """Two steps that keep more and more."""
    prompt: tuple[TokenClass, bool] = ("prompt", False)
    answer: tuple[TokenClass, bool] = ("answer", True)
    lines = [
        RecordedStep(
            step,
            kept_shares([[prompt] * 10 + [answer] * step]),
            0.5,
            ScoreStatistics(0.0, 1.0, 2.0 * step),
        ).line()
        for step in (1, 11)
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_data_are_shown_token_by_token(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = save_records(tmp_path / "train.jsonl")
    run = inspected(
        model, tmp_path, capsys, "--data", str(data), "--instances", "2", "--selector", "tokenseek"
    )
    numbers = run.numbers
    assert numbers["selector"] == "tokenseek"
    assert len(numbers["instances"]) == 2
    tokens = [token for instance in numbers["instances"] for token in instance]
    assert numbers["tokens"] == len(tokens)
    assert numbers["kept"] == sum(token["kept"] for token in tokens)
    assert run.page.count("data-n=") == len(tokens)
    assert run.page.count("<b data-n=") == numbers["kept"]
    first = numbers["instances"][0][0]
    assert (
        f"token 0, special: {'kept' if first['kept'] else 'ditched'}, score "
        f"{first['score']:.4g}, context term "
        f"{first['context']:.3f}, gradient term {first['gradient']:.3f}"
    ) in run.page
    assert "By training step" not in run.page
    del numbers["instances"]
    assert numbers | {"output": str(run.folder)} == run.told
    assert sorted(path.name for path in run.folder.iterdir()) == ["inspect.json", "page.html"]


def test_answers_behind_prompts_are_kept_as_a_fine_tuning_keeps_them(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = save_records(tmp_path / "train.jsonl")
    told = inspected(model, tmp_path, capsys, "--data", str(data), "--answer-ratio", "1").told
    assert (told["selector"], told["gradient"]) == ("random", "restart")
    assert told["by_class"]["answer"]["kept"] == told["by_class"]["answer"]["tokens"]


def test_a_text_is_shown_in_stretches_and_all_of_it_is_learnt(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "words.txt"
    text.write_text("red green\nblue <bot> " * 30)
    numbers = inspected(model, tmp_path, capsys, "--text", str(text)).numbers
    assert [len(instance) for instance in numbers["instances"]] == [64, 57]
    assert numbers["by_class"]["prompt"]["tokens"] == 0
    assert numbers["by_class"]["answer"]["tokens"] == 90
    assert [token["supervised"] for token in numbers["instances"][0]] == [True] * 63 + [False]
    assert numbers["by_position"][0]["tokens"] == 7 + 6


def test_a_log_is_shown_by_training_step(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, log = save_records(tmp_path / "train.jsonl"), write_log(tmp_path / "kept.jsonl")
    run = inspected(model, tmp_path, capsys, "--data", str(data), "--log", str(log))
    assert [step["step"] for step in run.numbers["steps"]] == [1, 11]
    assert run.numbers["steps"][1]["by_class"]["answer"] == {"tokens": 11, "kept": 11}
    assert "By training step" in run.page
    assert run.page.count("<figure>") == 4


def test_the_page_asks_for_nothing_from_anywhere(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, log = save_records(tmp_path / "train.jsonl"), write_log(tmp_path / "kept.jsonl")
    page = inspected(model, tmp_path, capsys, "--data", str(data), "--log", str(log)).page
    assert not re.search(r"https?:|\bsrc=|@import|url\(|<link", page)


@pytest.mark.skipif(importlib.util.find_spec("matplotlib") is None, reason="no matplotlib")
def test_the_picture_is_a_png_whatever_the_letters(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, log = tmp_path / "$x$ _train_.jsonl", write_log(tmp_path / "kept.jsonl")
    data.write_text('{"prompt": "say red", "response": "red red \\u6f22 $\\\\frac red"}\n')
    output = tmp_path / "seen"
    given = ["--data", str(data), "--log", str(log), "--output", str(output), "--device", "cpu"]
    assert main(["inspect", "--model", str(model), "--max-length", "64", *given]) == 0
    png = (output / "tokens.png").read_bytes()
    assert png.startswith(b"\x89PNG")
    assert int.from_bytes(png[16:20], "big") == 1210, "its width in pixels"
    told = capsys.readouterr().out
    assert f"page: {output / 'page.html'}" in told.replace("\n", "")


def test_the_picture_needs_matplotlib_and_says_so(
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    data = save_records(tmp_path / "train.jsonl")
    output = tmp_path / "seen"
    assert main(["inspect", "--model", str(model), "--data", str(data), "-o", str(output)]) == 2
    assert capsys.readouterr().err == (
        "error: picture (tokens.png) must be drawn by matplotlib, which is absent; pip install "
        '"tokenseek-core[plot]", or leave the picture out with --no-picture\n'
    )
    assert not output.exists()


def test_a_training_that_would_be_dense_is_told(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = save_records(tmp_path / "train.jsonl")
    given = ["--data", str(data), "--ratio", "0.9", "--selector", "gradient", "--max-length", "64"]
    output = ["--no-picture", "-o", str(tmp_path / "seen"), "--device", "cpu"]
    assert main(["inspect", "--model", str(model), *given, *output]) == 0
    assert "a training would be dense" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], "data, text (None, None) must be one of the two; give --data FILE or --text FILE"),
        (
            ["--data", "a.jsonl", "--text", "b.txt"],
            "data, text (a.jsonl, b.txt) must be one of the two; give --data FILE or --text FILE",
        ),
        (
            ["--text", "/nowhere.txt"],
            "text (/nowhere.txt) must be a file of UTF-8 text; check the path",
        ),
        (["--text", "/dev/null"], "text (/dev/null) must hold a text; it is empty"),
        (
            ["--text", "README", "--instances", "0"],
            "instances (0) must be at least 1",
        ),
        (
            ["--text", "README", "--log", "/nowhere.jsonl"],
            "log (/nowhere.jsonl) must be a file that tokenseek finetune --record-every or "
            "TokenSeekCallback wrote; check the path",
        ),
        (["--text", "README", "--ratio", "2"], "ratio (2.0) must be in (0, 1]; 0.1 keeps one"),
        (["--data", "/nowhere.jsonl"], "source (/nowhere.jsonl) must be"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(
    options: list[str],
    expected: str,
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    output = tmp_path / "seen"
    given = ["--model", str(model), "--no-picture", "-o", str(output), *options]
    assert main(["inspect", *given]) == 2
    told = capsys.readouterr().err
    error = next(line for line in told.splitlines() if line.startswith("error: "))
    assert error.startswith(f"error: {expected}")
    assert not output.exists()


def test_more_tokens_than_positions_are_refused(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = save_records(tmp_path / "train.jsonl")
    given = ["--data", str(data), "--no-picture", "-o", str(tmp_path / "seen")]
    assert main(["inspect", "--model", str(model), *given]) == 2
    assert capsys.readouterr().err.endswith(
        f"error: max_length (512) must be at most 64, the positions of {model}; choose another "
        "--max-length\n"
    )


def test_nothing_is_overwritten(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "notes").write_text("mine")
    data = save_records(tmp_path / "train.jsonl")
    given = ["--data", str(data), "--no-picture", "-o", str(tmp_path)]
    assert main(["inspect", "--model", str(model), *given]) == 2
    assert "must be an empty or new folder" in capsys.readouterr().err
