from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from saved_llama import WORDS, save_llama
from tokenseek_core import TokenSeekConfig
from tokenseek_core._instances import Instance
from tokenseek_core.advise import AdviseSettings, advise
from tokenseek_core.cli import main
from tokenseek_core.estimate import Plan
from tokenseek_core.estimate._plans import ids
from tokenseek_core.inspect import Method
from tokenseek_core.inspect._operations import Sizes, step_operations
from tokenseek_core.models import load_config

WAYS = [
    "dense",
    "checkpointing",
    "checkpointing + chunked head",
    "TokenSeek",
    "TokenSeek + checkpointing",
    "answers",
    "answers + checkpointing",
    "LoRA",
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_llama(tmp_path_factory.mktemp("model") / "llama")


def records(folder: Path, prompt: int, answer: int) -> Path:
    """Six records of one shape: the template adds a token before and one after each part."""
    path = folder / "data.jsonl"
    line = {"prompt": " ".join(["say"] * prompt), "response": " ".join([WORDS[3]] * answer)}
    path.write_text(f"{json.dumps(line)}\n" * 6)
    return path


def made_up(peak: int) -> Any:
    """Stands in for an estimator."""
    return lambda batch: SimpleNamespace(peak=peak)


def test_the_figures_are_those_of_the_data_the_estimate_and_the_counted_operations(
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    estimator = Plan.estimator

    def dense_made_up(plan: Plan, *args: Any) -> Any:
        return estimator(plan, *args) if plan.name == "answers" else made_up(2**20)

    monkeypatch.setattr(Plan, "estimator", dense_made_up)
    data = records(tmp_path, prompt=40, answer=4)
    options = ["--model", str(model), "--data", str(data), "--batch-size", "3"]
    output = tmp_path / "told"
    assert main(["advise", *options, "--output", str(output), "--json", "--quiet"]) == 0
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert json.loads((output / "advise.json").read_text()) == told
    length = told["longest"]
    assert (told["examples"], told["tokens"]) == (6, 6 * length)
    answers = round(told["supervised_share"] * length)
    assert answers == 5  # and the sign that ends an answer
    assert [option["step"] for option in told["options"]] == WAYS
    assert told["recommendation"]["step"] == "answers"

    config, instance = load_config(str(model)), Instance(length, answers)
    kept = Method("answers", replace(TokenSeekConfig.answers(), check=False))
    plan = Plan(kept, supervised=answers / length)
    peak = estimator(plan, config, torch.float32)(ids(3, length)).peak
    dense, counted = (
        step_operations(Sizes.of(config), instance, method) for method in (Method("dense"), kept)
    )
    ours = told["options"][WAYS.index("answers")]
    assert ours["peak_bytes"] == pytest.approx(peak, rel=1e-2)
    assert ours["memory_share"] == pytest.approx(ours["peak_bytes"] / 2**20, abs=1e-4)
    assert ours["operations_share"] == pytest.approx(counted / dense, abs=1e-4)


@pytest.fixture
def few_ways(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Peaks are made up, so that nothing is estimated; what was to be estimated is listed."""
    asked: list[str] = []

    def estimator(plan: Plan, *args: Any) -> Any:
        asked.append(plan.name)
        return made_up(2**30 - len(asked))

    monkeypatch.setattr(Plan, "estimator", estimator)
    return asked


@pytest.mark.usefixtures("few_ways")
def test_where_most_tokens_carry_the_loss_dense_training_is_advised(
    model: Path, tmp_path: Path
) -> None:
    settings = AdviseSettings(model=str(model), data=str(records(tmp_path, prompt=3, answer=30)))
    advice = advise(settings)
    assert advice.recommendation.step == "dense"
    assert [option.step for option in advice.options] == [w for w in WAYS if "answers" not in w]
    assert advice.options[0].fits is None


def test_with_lora_every_way_trains_an_adapter(
    model: Path, tmp_path: Path, few_ways: list[str]
) -> None:
    data = records(tmp_path, prompt=40, answer=4)
    settings = AdviseSettings(model=str(model), data=str(data), lora=True, device_memory="2GiB")
    advice = advise(settings)
    assert few_ways[0] == "LoRA"
    assert all(step.startswith("LoRA") for step in few_ways)
    assert len(few_ways) == 7
    assert advice.recommendation.step == "LoRA + answers"
    assert all(option.fits for option in advice.options)


@pytest.mark.usefixtures("few_ways")
def test_people_get_one_table_one_recommendation_and_its_command(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = records(tmp_path, prompt=40, answer=4)
    assert main(["advise", "--model", str(model), "--data", str(data)]) == 0
    out = capsys.readouterr().out
    for word in (*WAYS, "carry the loss", "of dense", "operations", "answers: Your answers are"):
        assert word in out
    assert f"tokenseek finetune --model {model}" in " ".join(out.split())


# Bad input


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--length", "1"), "length (1) must be at least 2; choose another --length"),
        (
            ("--length", "65"),
            "length (65) must be at most 64, the positions of {model}; choose another --length",
        ),
        (("--batch-size", "0"), "batch_size (0) must be at least 1; choose another --batch-size"),
        (
            ("--device-memory", "24"),
            "device_memory (24) must be a number of bytes with its unit; "
            "write --device-memory 24GiB, or 24GB",
        ),
        (
            ("--model", "/nowhere"),
            "model (/nowhere) must be a folder with a config.json; "
            "give such a folder, a hub id or smollm2",
        ),
    ],
)
def test_options_that_cannot_be_are_refused(
    model: Path,
    tmp_path: Path,
    options: tuple[str, ...],
    expected: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = records(tmp_path, prompt=4, answer=4)
    assert main(["advise", "--model", str(model), "--data", str(data), *options]) == 2
    assert capsys.readouterr() == ("", f"error: {expected.format(model=model)}\n")
