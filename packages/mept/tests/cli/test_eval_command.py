from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForSequenceClassification

from mept.cli import main
from saved import mood_rows, save_rows, save_tiny

TRAINED = ("--labels", "glad", "sad", "--steps", "2", "--quiet", "--device", "cpu")


@pytest.fixture(scope="module")
def moods(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_rows(tmp_path_factory.mktemp("moods") / "mood.jsonl", mood_rows(40))


@pytest.fixture(scope="module")
def runs(moods: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An adapter of a classifier and one of a model that writes."""
    folder = tmp_path_factory.mktemp("runs")
    for family in ("bert", "llama"):
        model = save_tiny(folder / f"{family}-model", family)
        command = ["train", "--model", str(model), "--task", f"mood={moods}", *TRAINED]
        assert main([*command, "-o", str(folder / family)]) == 0
    return {family: folder / family for family in ("bert", "llama")}


def refused(capsys: pytest.CaptureFixture[str], adapter: Path, *options: str) -> str:
    capsys.readouterr()
    assert main(["eval", str(adapter), "--device", "cpu", "--quiet", *options]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    return err.removeprefix("error: ").rstrip("\n")


def test_scores_are_told_as_a_table_and_written_where_a_folder_is_named(
    runs: dict[str, Path], moods: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--task", f"mood={moods}", "-o", str(tmp_path / "scores"), "--device", "cpu")
    assert main(["eval", str(runs["bert"] / "adapter"), *options]) == 0
    out = capsys.readouterr().out
    assert f"adapter: {runs['bert'] / 'adapter'}\n" in out
    written = json.loads((tmp_path / "scores" / "eval.json").read_text())
    assert written["samples"] == {"mood": 40}
    assert f"{written['score']:.4g}" in out


def test_a_model_that_writes_is_asked_any_task_and_need_not_write(
    runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"text": row["text"], "label": place % 2} for place, row in enumerate(mood_rows(6))]
    file = save_rows(tmp_path / "known.jsonl", rows)
    options = ("--task", f"sst2={file}", "--no-generation", "--json", "--device", "cpu")
    assert main(["eval", str(runs["llama"]), *options]) == 0
    result = json.loads(capsys.readouterr().out)
    assert set(result["chosen"]) == {"sst2"}
    assert result["written"] is None


def test_other_labels_than_those_of_the_head_are_refused(
    runs: dict[str, Path], moods: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refused(capsys, runs["bert"], "--task", f"sst2={moods}") == (
        "task (sst2: negative, positive) must have labels that the head was trained on (mood: "
        "glad, sad); choose a task with them, or train on this one"
    )
    assert refused(capsys, runs["bert"], "--task", f"record={moods}") == (
        "task (record: entities) must have labels that the head was trained on (mood: glad, sad); "
        "choose a task with them, or train on this one"
    )


def test_the_base_may_lie_elsewhere_but_must_be_the_same(
    runs: dict[str, Path], moods: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    moved = shutil.copytree(runs["bert"].with_name("bert-model"), tmp_path / "moved")
    options = ("--task", f"mood={moods}", "--device", "cpu", "--quiet", "--model")
    assert main(["eval", str(runs["bert"]), *options, str(moved)]) == 0

    other = save_tiny(tmp_path / "other", "bert", hidden_size=16)
    deeper = save_tiny(tmp_path / "deeper", "bert", num_hidden_layers=4)
    for model in (other, deeper):
        found = refused(capsys, runs["bert"], *options, str(model))
        assert found == (
            f"adapter ({runs['bert'] / 'adapter'}) must fit the model "
            "(BertForSequenceClassification); give --model the one that it was trained on"
        )


def test_folders_that_are_no_adapter_of_ours_are_refused(
    runs: dict[str, Path], moods: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refused(capsys, tmp_path, "--task", f"mood={moods}") == (
        f"adapter ({tmp_path}) must be a folder that mept train wrote, with its mept.json; choose "
        "another folder"
    )
    base = AutoModelForSequenceClassification.from_pretrained(runs["bert"].with_name("bert-model"))
    lora = tmp_path / "lora"
    adapted = get_peft_model(base, LoraConfig(task_type="SEQ_CLS", target_modules=["query"]))
    adapted.save_pretrained(str(lora))
    shutil.copy(runs["bert"] / "adapter" / "mept.json", lora)
    assert refused(capsys, lora, "--task", f"mood={moods}") == (
        f"adapter ({lora}) must be one of this method, and is LORA; choose another folder"
    )


def test_a_split_that_there_is_not_is_refused(
    runs: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--task", "docstrings", "--split", "test")
    assert refused(capsys, runs["llama"], *options) == (
        "split (test) must be train or validation of docstrings; choose one of them"
    )


def test_a_count_below_one_is_refused(
    runs: dict[str, Path], moods: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refused(capsys, runs["bert"], "--task", f"mood={moods}", "--limit", "0") == (
        "limit (0) must be at least 1; choose another --limit"
    )


def test_a_task_must_be_named(runs: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(capsys, runs["bert"]) == (
        "task (none) must be given; write --task NAME=SOURCE, such as mood, which the adapter was "
        "trained on"
    )
