from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from PIL import Image
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from mept import record_routing
from mept.cli import main
from mept.cli._inspect import told_apart
from mept.inspect import expert_load
from saved import mood_rows, save_rows
from tokenseek_common.data import TASKS, TaskSample

QUIET = ("--device", "cpu", "--quiet")


def inspected(adapter: Path, output: Path, *options: str) -> dict[str, Any]:
    assert main(["inspect", str(adapter), "-o", str(output), *QUIET, *options]) == 0
    result: dict[str, Any] = json.loads((output / "inspect.json").read_text())
    return result


def refused(capsys: pytest.CaptureFixture[str], adapter: Path, *options: str) -> str:
    capsys.readouterr()
    assert main(["inspect", str(adapter), *QUIET, *options]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    return err.removeprefix("error: ").rstrip("\n")


def test_by_default_it_sees_how_labels_of_the_trained_task_are_routed(
    runs: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["inspect", str(runs["docstrings"]), "--device", "cpu"]) == 0
    folder = tmp_path / "mept-inspect-001"
    result = json.loads((folder / "inspect.json").read_text())
    assert result["grouped_by"] == "label"
    assert set(result["samples"]) == {
        *("concurrency", "dates", "files", "network", "numbers", "testing", "text")
    }
    assert [sum(layer["load"]) for layer in result["layers"]] == pytest.approx([1, 1, 1])
    names = {"load.png", "overlap.png", "paths.png", "pca.png"}
    assert {path.name for path in folder.iterdir()} == names | {"inspect.json"}
    for name in names:
        with Image.open(folder / name) as picture:
            picture.verify()
    told = capsys.readouterr().out
    assert "I(label; expert), nats" in told
    best = result["paths"][0]
    assert f"{'-'.join(map(str, best['path']))}  " in told
    assert f"report: {Path('mept-inspect-001', 'inspect.json')}, with load.png" in told


def test_several_tasks_are_told_apart_and_the_result_is_printed_as_json(
    runs: dict[str, Path], moods: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "seen"
    tasks = ("--task", f"mood={moods}", f"weather={moods}", "--limit", "12")
    command = ["inspect", str(runs["mixture"]), *tasks, "--json", "--device", "cpu"]
    assert main([*command, "-o", str(output)]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result.pop("output") == str(output)
    assert result == json.loads((output / "inspect.json").read_text())
    assert result["grouped_by"] == "task"
    assert result["samples"] == {"mood": 12, "weather": 12}
    assert set(result["samples_of"].values()) == {"every row of the file"}
    assert set(result["layers"][0]["overlap"]["mood"]) == {"mood", "weather"}


def test_the_load_is_that_of_the_model_as_peft_opens_it(
    runs: dict[str, Path], moods: Path, tmp_path: Path
) -> None:
    result = inspected(runs["bert"], tmp_path / "seen", "--task", f"mood={moods}")
    base = AutoModelForSequenceClassification.from_pretrained(
        runs["bert"].with_name("bert-model"), num_labels=2
    )
    adapter = runs["bert"] / "adapter"
    model = PeftModel.from_pretrained(base, adapter).eval()
    tokenizer = AutoTokenizer.from_pretrained(adapter)
    texts = [row["text"] for row in mood_rows(40)]
    with record_routing(model) as record, torch.no_grad():
        model(**tokenizer(texts, padding=True, return_tensors="pt"))
    load = expert_load(record.chosen, 4)
    assert [layer["load"] for layer in result["layers"]] == load.tolist()


def test_a_model_that_writes_is_seen_too_and_a_single_group_has_no_overlap(
    runs: dict[str, Path], tmp_path: Path
) -> None:
    glad = save_rows(tmp_path / "glad.jsonl", [r for r in mood_rows(20) if r["label"] == "glad"])
    result = inspected(runs["llama"], tmp_path / "seen", "--task", f"mood={glad}")
    assert result["form"] == "text-to-text"
    assert result["samples"] == {"glad": 10}
    assert not (tmp_path / "seen" / "overlap.png").exists()


def test_samples_are_drawn_from_all_of_a_file_by_the_seed(
    runs: dict[str, Path], tmp_path: Path
) -> None:
    in_order = sorted(mood_rows(60), key=lambda row: row["label"])
    options = ("--task", f"mood={save_rows(tmp_path / 'mood.jsonl', in_order)}", "--limit", "20")
    first, again, other = (
        inspected(runs["bert"], tmp_path / str(place), *options, "--seed", seed)
        for place, seed in enumerate("001")
    )
    assert min(first["samples"].values()) > 5
    assert first["layers"] == again["layers"]
    assert first["layers"] != other["layers"]


def test_samples_that_bring_their_choices_along_have_their_task_as_group() -> None:
    texts = {"query": "@placeholder met", "entities": "Ann, Bob", "passage": "Ann met Bob"}
    sample = TaskSample(TASKS["record"], texts, ("Ann", "Bob"), ("Bob",))
    assert told_apart([sample, sample]) == ("task", ["record", "record"])


def test_without_matplotlib_nothing_is_begun(
    runs: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("mept.cli._inspect.read_adapter", lambda folder: pytest.fail("it began"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    found = refused(capsys, runs["bert"], "-o", str(tmp_path / "seen"))
    assert found == (
        'pictures (png) must be drawn by matplotlib, which is absent; pip install "mept[plot]"'
    )
    assert not (tmp_path / "seen").exists()


def test_without_pictures_no_matplotlib_is_needed(
    runs: dict[str, Path],
    moods: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == "matplotlib" else find(name)
    )
    output = tmp_path / "seen"
    command = ["inspect", str(runs["bert"]), "--task", f"mood={moods}", "-o", str(output)]
    assert main([*command, "--device", "cpu", "--no-pictures"]) == 0
    assert [path.name for path in output.iterdir()] == ["inspect.json"]
    assert f"report: {output / 'inspect.json'}\n" in capsys.readouterr().out


def test_what_cannot_be_asked_or_written_is_refused_and_nothing_written(
    runs: dict[str, Path], moods: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = ("-o", str(tmp_path / "seen"))
    assert refused(capsys, runs["bert"] / "adapter", "--task", "mood", *output) == (
        "task (mood) must be given with its samples; write mood=FILE, or a folder or hub id"
    )
    assert refused(capsys, runs["bert"], "--task", f"sst2={moods}", *output) == (
        "task (sst2: negative, positive) must have labels that the head was trained on (mood: "
        "glad, sad); choose a task with them, or train on this one"
    )
    assert refused(capsys, runs["bert"], "--limit", "0", *output) == (
        "limit (0) must be at least 1; choose another --limit"
    )
    assert list(tmp_path.iterdir()) == []
    assert refused(capsys, runs["bert"], "-o", str(runs["bert"])) == (
        f"output ({runs['bert']}) must be an empty or new folder; choose another --output"
    )
