"""The field's own harness opens what `tokenseek finetune` saved, and scores it as we would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from saved_llama import WORDS, save_llama, save_records
from tokenseek_core.cli import main

pytest.importorskip("lm_eval", reason="lm_eval is not there; pip install lm_eval")
pytestmark = pytest.mark.evaluation

CHOICES = [" ".join([word] * 3) for word in WORDS[3:]]


@dataclass(frozen=True)
class Scored:
    """What the harness says of a model.

    Args:
        accuracy: Share of the questions whose answer is the likeliest.
        asked: Each question as the model reads it, and each answer that it is scored with.
        likelihoods: Their log-likelihoods.
        right: Mean log-likelihood of the right answers.
    """

    accuracy: float
    asked: list[tuple[str, str]]
    likelihoods: list[float]
    right: float


def task_in(folder: Path) -> Path:
    """A folder with a task of one choice for each word, and its questions."""
    questions = folder / "questions.jsonl"
    records = [{"word": word, "right": place} for place, word in enumerate(WORDS[3:])]
    questions.write_text("".join(json.dumps(record) + "\n" for record in records))
    task = {
        "task": "say",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(questions)}},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "say {{word}}",
        "doc_to_choice": CHOICES,
        "doc_to_target": "right",
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    }
    (folder / "say.yaml").write_text(json.dumps(task))  # which is YAML too
    return folder


def finetune(model: Path, folder: Path, *options: str) -> Path:
    records = save_records(folder / "train.jsonl")
    output = folder / "tuned"
    command = ["finetune", "--model", str(model), "--data", str(records), "--output", str(output)]
    sizes = ["--max-length", "32", "--ratio", "0.4", "--device", "cpu", "--quiet"]
    assert main([*command, *sizes, *options]) == 0
    return output


def scored(folder: Path, **given: Path) -> Scored:
    """Score a model by the harness, as its users call it."""
    output, cache = folder / "scores", folder / "cache"
    arguments = ",".join(f"{name}={path}" for name, path in given.items())
    command = [sys.executable, "-m", "lm_eval", "--model", "hf", "--model_args", arguments]
    command += ["--tasks", "say", "--include_path", str(task_in(folder)), "--device", "cpu"]
    command += ["--apply_chat_template", "--log_samples", "--output_path", str(output)]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(cache)}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    (results,) = output.rglob("results_*.json")
    (samples,) = output.rglob("samples_say_*.jsonl")
    accuracy = json.loads(results.read_text())["results"]["say"]["acc,none"]
    asked, likelihoods, right = [], [], []
    for sample in map(json.loads, samples.read_text().splitlines()):
        ours = [float(answer[0]) for answer in sample["filtered_resps"]]
        asked += [(each["arg_0"], each["arg_1"]) for each in sample["arguments"].values()]
        likelihoods += ours
        right.append(ours[int(sample["target"])])
    return Scored(accuracy, asked, likelihoods, sum(right) / len(right))


@torch.no_grad()
def likelihood(model: Any, tokenizer: Any, question: str, answer: str) -> float:
    """Log-likelihood of an answer by one pass of the model."""
    read = tokenizer(question, add_special_tokens=False).input_ids
    ids = tokenizer(question + answer, add_special_tokens=False).input_ids
    logits: Tensor = model(input_ids=torch.tensor([ids[:-1]])).logits[0]  # [s - 1, v]
    places = range(len(read) - 1, len(ids) - 1)
    return sum(float(logits[place].log_softmax(-1)[ids[place + 1]]) for place in places)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_llama(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def untouched(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Scored:
    return scored(tmp_path_factory.mktemp("untouched"), pretrained=model)


def test_lm_eval_opens_a_fine_tuned_model_and_scores_it_as_its_own_forward_does(
    model: Path, untouched: Scored, tmp_path: Path
) -> None:
    output = finetune(model, tmp_path, "--epochs", "12", "--learning-rate", "1e-2")
    found = scored(tmp_path, pretrained=output)
    assert untouched.accuracy < 0.5
    assert found.accuracy == 1
    opened = AutoModelForCausalLM.from_pretrained(output)
    tokenizer = AutoTokenizer.from_pretrained(output)
    assert found.asked[0] == ("<user> say red <end> <bot> ", "red red red"), "as it was trained"
    ours = [likelihood(opened, tokenizer, *pair) for pair in found.asked]
    assert found.likelihoods == pytest.approx(ours, abs=1e-5)


def test_lm_eval_opens_a_fine_tuned_adapter_and_scores_it_as_its_own_forward_does(
    model: Path, untouched: Scored, tmp_path: Path
) -> None:
    from peft import AutoPeftModelForCausalLM

    options = ("--lora", "--epochs", "12", "--learning-rate", "3e-2")
    output = finetune(model, tmp_path, *options)
    found = scored(tmp_path, pretrained=model, peft=output)
    assert found.right > untouched.right + 1
    opened = AutoPeftModelForCausalLM.from_pretrained(output)
    tokenizer = AutoTokenizer.from_pretrained(output)
    ours = [likelihood(opened, tokenizer, *pair) for pair in found.asked]
    assert found.likelihoods == pytest.approx(ours, abs=1e-5)
    theirs = dict(zip(untouched.asked, untouched.likelihoods, strict=True))
    assert all(theirs[pair] != value for pair, value in zip(found.asked, ours, strict=True))
