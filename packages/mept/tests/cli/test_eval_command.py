from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForSequenceClassification

from mept.cli import main
from saved import mood_rows, save_rows, save_tiny


def refused(capsys: pytest.CaptureFixture[str], adapter: Path, *options: str) -> str:
    capsys.readouterr()
    assert main(["eval", str(adapter), "--device", "cpu", "--quiet", *options]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    return err.removeprefix("error: ").rstrip("\n")


def test_of_a_file_that_the_run_has_learnt_from_what_it_held_out_is_scored(
    runs: dict[str, Path], moods: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copied = shutil.copy(moods, tmp_path / "copied.jsonl")
    options = ("--task", f"mood={copied}", "-o", str(tmp_path / "scores"), "--device", "cpu")
    assert main(["eval", str(runs["bert"] / "adapter"), *options]) == 0
    out = capsys.readouterr().out
    assert f"adapter: {runs['bert'] / 'adapter'}\n" in out
    assert "Scored on mood (held out by the run)" in out
    written = json.loads((tmp_path / "scores" / "eval.json").read_text())
    assert written["scored"] == {"mood": "held out by the run"}
    assert written["samples"] == {"mood": 8}
    assert f"{written['score']:.4g}" in out
    result = json.loads((runs["bert"] / "result.json").read_text())
    assert written["chosen"] == result["test"]["chosen"]


@pytest.mark.parametrize("name", ["bert", "mixture"])
def test_every_row_of_another_file_is_scored_and_said_to_be(
    name: str,
    runs: dict[str, Path],
    moods: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    changed = tmp_path / "changed.jsonl"
    changed.write_text(moods.read_text().split("\n", 1)[1])  # a row less, so held out by nobody
    assert main(["eval", str(runs[name]), "--task", f"mood={changed}", "--json", "--quiet"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["scored"] == {"mood": "every row of the file"}
    assert result["samples"] == {"mood": 39}


def test_a_run_of_several_tasks_knows_what_it_held_out_of_each(
    runs: dict[str, Path], moods: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--task", f"weather={moods}", "--json", "--quiet")
    assert main(["eval", str(runs["mixture"]), *options]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["scored"] == {"weather": "held out by the run"}
    assert result["samples"] == {"weather": 8}


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
    for model, found in ((other, "3 layers of width 16"), (deeper, "4 layers of width 32")):
        assert refused(capsys, runs["bert"], *options, str(model)) == (
            f"model (bert, {found}) must be like the one that the prompts were made for (bert, 3 "
            "layers of width 32); load them on that one"
        )


def test_a_base_of_another_type_is_refused_though_the_adapter_would_fit(
    runs: dict[str, Path], moods: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = save_tiny(tmp_path / "other", "mistral")
    options = ("--task", f"mood={moods}", "--model", str(other))
    assert refused(capsys, runs["llama"], *options) == (
        f"model ({other}, of type mistral) must be of type llama, as the one that the adapter was "
        "trained on; choose another --model"
    )


@pytest.mark.parametrize(
    ("name", "content", "damage"),
    [
        ("adapter_config.json", None, "it is missing"),
        ("adapter_config.json", b"{", "Expecting property name enclosed in double quotes: line 1"),
        ("adapter_config.json", b'{"peft_type": "OTHER"}', "'OTHER'"),
        ("adapter_model.safetensors", None, "it is missing"),
        ("adapter_model.safetensors", b"weights", "Error while deserializing header"),
    ],
)
def test_an_adapter_whose_files_are_damaged_is_refused(
    name: str,
    content: bytes | None,
    damage: str,
    runs: dict[str, Path],
    moods: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    adapter = shutil.copytree(runs["bert"] / "adapter", tmp_path / "adapter")
    (adapter / name).unlink()
    if content is not None:
        (adapter / name).write_bytes(content)
    found = refused(capsys, adapter, "--task", f"mood={moods}")
    assert found.startswith(f"adapter ({adapter}) must have its {name} as mept train wrote it (")
    assert damage in found
    assert found.endswith("); restore the file, or train the adapter anew")


@pytest.mark.parametrize("change", ["empty", "more", "other tasks"])
def test_an_adapter_with_another_description_is_refused(
    change: str,
    runs: dict[str, Path],
    moods: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    adapter = shutil.copytree(runs["bert"] / "adapter", tmp_path / "adapter")
    content = json.loads((adapter / "mept.json").read_text())
    changed = {
        "empty": {},
        "more": content | {"more": 1},
        "other tasks": content | {"tasks": ["mood"]},
    }
    (adapter / "mept.json").write_text(json.dumps(changed[change]))
    assert refused(capsys, adapter, "--task", f"mood={moods}") == (
        f"adapter ({adapter}) must have its mept.json as mept train wrote it; restore the file, or "
        "train the adapter anew"
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


def test_help_says_that_nothing_is_written_without_a_folder(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["eval", "--help"]) == 0
    told = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert (
        "Where to write eval.json: a new or empty folder. Without it, nothing is written." in told
    )
    assert "numbered" not in told


@pytest.mark.filterwarnings("default:sliding_window:UserWarning")
@pytest.mark.parametrize("quiet", [False, True])
def test_a_warning_is_told_as_a_note_and_without_a_line_of_code(
    quiet: bool, moods: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = save_tiny(tmp_path / "model", "mistral")
    told = ["--quiet"] if quiet else []
    command = ["train", "--model", str(model), "--task", f"mood={moods}", "--labels", "glad", "sad"]
    command += ["--steps", "1", "--device", "cpu", "-o", str(tmp_path / "run"), *told]
    assert main(command) == 0
    assert main(["eval", str(tmp_path / "run"), "--task", f"mood={moods}", *told]) == 0
    err = capsys.readouterr().err
    notes = [line for line in err.splitlines() if "sliding_window" in line]
    expected = [] if quiet else 2 * ["sliding_window (7) is shorter than"]  # of both commands
    assert [line[:34] for line in notes] == expected
    assert "UserWarning" not in err


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


def test_by_default_it_is_asked_what_it_was_trained_on(
    runs: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["eval", str(runs["docstrings"]), "--device", "cpu", "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)["samples"]) == {"docstrings"}


def test_by_default_it_is_asked_what_its_run_scored_where_that_lay(
    runs: dict[str, Path],
    moods: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["eval", str(runs["bert"]), "--device", "cpu", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    expected = json.loads((runs["bert"] / "result.json").read_text())["test"]
    assert found["scored"] == {"mood": "held out by the run"}
    assert found["chosen"] == expected["chosen"]

    copied = shutil.copytree(runs["bert"], tmp_path / "copied")
    record = json.loads((copied / "run.json").read_text())
    assert record["sources"] == {"mood": str(moods)}
    gone = str(tmp_path / "gone.jsonl")
    (copied / "run.json").write_text(json.dumps(record | {"sources": {"mood": gone}}))
    assert refused(capsys, copied) == f"source ({gone}) must be an existing file; check the path"
    alone = shutil.copytree(runs["bert"] / "adapter", tmp_path / "alone")  # as from a hub
    assert refused(capsys, alone) == (
        "task (mood) must be given with its samples; write mood=FILE, or a folder or hub id"
    )
