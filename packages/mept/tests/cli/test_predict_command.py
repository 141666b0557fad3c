"""`mept predict` and `mept generate`: answers to new rows, and texts that go on."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from mept.cli import main
from saved import mood_rows, save_rows


@pytest.fixture(scope="module")
def new(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """New rows: with names of their own, and labels that are none of the task's."""
    rows = [
        {"id": place, "text": row["text"], "label": "unknown"}
        for place, row in enumerate(mood_rows(7, seed=9))
    ]
    return save_rows(tmp_path_factory.mktemp("new") / "new.jsonl", rows)


def run(*command: str | Path) -> int:
    return main([*map(str, command), "--device", "cpu"])


def told(capsys: pytest.CaptureFixture[str], *command: str | Path) -> dict[str, Any]:
    capsys.readouterr()
    assert run(*command, "--json") == 0
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


def refused(capsys: pytest.CaptureFixture[str], *command: str | Path) -> str:
    capsys.readouterr()
    assert run(*command, "--quiet") == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    return err.removeprefix("error: ").rstrip("\n")


def test_rows_come_back_with_what_the_opened_adapter_gives_each_label(
    runs: dict[str, Path], new: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("predict", runs["bert"], new, "-o", tmp_path / "out.jsonl") == 0
    shown = capsys.readouterr().out
    assert f"answers: {tmp_path / 'out.jsonl'}\n" in shown
    found = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    rows = [json.loads(line) for line in new.read_text().splitlines()]
    assert [
        {name: answer[name] for name in row} for answer, row in zip(found, rows, strict=True)
    ] == (rows)
    base = AutoModelForSequenceClassification.from_pretrained(
        runs["bert"].with_name("bert-model"), num_labels=2
    )
    model = PeftModel.from_pretrained(base, runs["bert"] / "adapter").eval()
    tokenizer = AutoTokenizer.from_pretrained(runs["bert"] / "adapter")
    for answer in found:
        with torch.no_grad():
            likely = model(**tokenizer(answer["text"], return_tensors="pt")).logits[0].softmax(0)
        assert list(answer["scores"]) == ["glad", "sad"]
        assert list(answer["scores"].values()) == pytest.approx(likely.tolist(), abs=1e-5)
        assert answer["prediction"] == ("glad", "sad")[int(likely.argmax())]

    assert run("predict", runs["bert"], new, "-o", tmp_path / "out.csv", "--quiet") == 0
    with (tmp_path / "out.csv").open(newline="") as table:
        lines = list(csv.DictReader(table))
    assert [line["prediction"] for line in lines] == [answer["prediction"] for answer in found]
    assert list(lines[0]) == ["id", "text", "label", "prediction", "scores glad", "scores sad"]


def test_without_a_file_answers_are_printed_also_to_plain_lines(
    runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = tmp_path / "new.txt"
    lines.write_text("the sun of song\n\n" + "grief " * 40 + "\n")
    assert run("predict", runs["mixture"], lines, "--task", "weather") == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first in ("glad: the sun of song", "sad: the sun of song")
    assert second.partition(": ")[2] == ("grief " * 40)[:79] + "\u2026"
    found = told(capsys, "predict", runs["llama"], lines, "--limit", "1")
    assert found["task"] == "mood"
    assert [answer["text"] for answer in found["answers"]] == ["the sun of song"]
    assert sum(found["answers"][0]["scores"].values()) == pytest.approx(1)


def test_texts_go_on_as_the_opened_adapter_has_them_go_on(
    runs: dict[str, Path], new: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prompts = ("the old day", "grief")
    command = ("generate", runs["llama"], "--prompt", *prompts, "--max-new-tokens", "5")
    found = [answer["written"] for answer in told(capsys, *command)["answers"]]
    base = AutoModelForCausalLM.from_pretrained(runs["llama"].with_name("llama-model"))
    model: Any = PeftModel.from_pretrained(base, runs["llama"] / "adapter").eval()
    tokenizer: Any = AutoTokenizer.from_pretrained(runs["llama"] / "adapter")
    for prompt, text in zip(prompts, found, strict=True):
        inputs = tokenizer(prompt, return_tensors="pt")
        tokens = model.generate(**inputs, max_new_tokens=5, do_sample=False)[0]
        new_tokens = tokens[inputs["input_ids"].shape[1] :]
        assert tokenizer.decode(new_tokens, skip_special_tokens=True).strip() == text
    assert run(*command) == 0
    assert capsys.readouterr().out.splitlines() == found

    file = tmp_path / "out.jsonl"
    assert run("generate", runs["llama"], new, "--limit", "2", "-o", file, "--quiet") == 0
    answers = [json.loads(line) for line in file.read_text().splitlines()]
    assert [list(answer) for answer in answers] == [["id", "text", "label", "written"]] * 2


def test_what_is_drawn_depends_on_the_seed_alone(
    runs: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    command = ("generate", runs["llama"], "--prompt", "the", "--sample", "--top-p", "0.9")
    texts = [told(capsys, *command, "--seed", seed)["answers"] for seed in "1123"]
    assert texts[0] == texts[1]
    assert not texts[0] == texts[2] == texts[3]


def test_what_cannot_be_answered_is_refused(
    runs: dict[str, Path], new: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    predict, generate = ("predict", runs["bert"]), ("generate", runs["llama"])
    assert refused(capsys, "predict", runs["mixture"], new) == (
        "task (None) must be one that the adapter was trained on, mood, weather; choose one of "
        "them by --task"
    )
    assert refused(capsys, *predict, new, "-o", new) == (
        f"output ({new}) must be a new file, nothing is overwritten; choose another --output"
    )
    assert refused(capsys, *predict, new, "-o", tmp_path / "out.txt") == (
        f"output ({tmp_path / 'out.txt'}) must be a file that ends in .jsonl or .csv; choose "
        "another --output"
    )
    assert refused(capsys, *predict, new, "-o", tmp_path / "none" / "out.csv") == (
        f"output ({tmp_path / 'none' / 'out.csv'}) must lie in a folder that exists; make it, or "
        "choose another --output"
    )
    other = save_rows(tmp_path / "other.jsonl", [{"body": "sun"}])
    assert refused(capsys, *predict, other) == (
        f"{other}, line 1: fields (body) must include text; rename the fields or choose another "
        "task"
    )
    assert refused(capsys, "generate", runs["bert"], new) == (
        f"adapter ({runs['bert'] / 'adapter'}) must be one that writes, and its model has a head "
        "for classification; ask it by mept predict"
    )
    assert refused(capsys, *generate) == (
        "prompt (neither) must be given by --prompt or a FILE; give one"
    )
    assert refused(capsys, *generate, new, "--prompt", "a") == (
        "prompt (both) must be given by --prompt or a FILE; give one"
    )
    assert refused(capsys, *generate, "--prompt", "") == (
        "prompt (0 tokens) must have from 1 to 54 tokens; change the text"
    )
    for option in ("temperature", "top-p"):
        name = option.replace("-", "_")
        assert refused(capsys, *generate, new, f"--{option}", "0.5") == (
            f"{name} (0.5) must come with --sample, or it has no effect; add that, or leave it out"
        )
