"""SmolLM2 tuned by `tokenseek finetune`, dense and with TokenSeek, scored by lm-evaluation-harness.

Each task is learnt from its own training records, all weights, in few steps. Of two learning rates
each way takes the one whose loss on held-out training records is lower, with the first seed. A
record is one file under benchmarks/results/tokenseek-core/evaluation; what is there is not run
again. The harness reads task files that are made from the data, and the saved folders.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from evaluation_tasks import EVALUATIONS
from study_tasks import ROOT

from tokenseek_core.models import load_pretrained
from tokenseek_core.training import FinetuneSettings, finetune

RESULTS = ROOT / "benchmarks/results/tokenseek-core/evaluation"
SEEDS = (0, 1, 2)
WAYS = ("dense", "tokenseek")


def record_of(task: str, way: str, rate: float, seed: int) -> Path:
    """The file of a run."""
    return RESULTS / task / f"{way}-{rate:g}-{seed}.json"


def untouched_of(task: str) -> Path:
    """The file of the model that nothing was taught."""
    return RESULTS / task / "untouched.json"


def read(path: Path) -> dict[str, Any]:
    """A record."""
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def chosen_rate(task: str, way: str) -> float:
    """The rate of the lower loss on the dev records, with the first seed."""
    rates = EVALUATIONS[task].rates
    return min(rates, key=lambda rate: float(read(record_of(task, way, rate, 0))["dev_loss"]))


def write(path: Path, record: dict[str, Any]) -> None:
    """Write a record, with what it was made by."""
    names = ("lm_eval", "torch", "transformers")
    versions = {name: importlib.metadata.version(name) for name in names}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record | {"versions": versions}, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(f"{path.relative_to(RESULTS)}: {json.dumps(record)}\n")
    sys.stdout.flush()


def score(model: Path, task: str, folder: Path) -> dict[str, Any]:
    """What the harness says of a saved model.

    Args:
        model: Its folder.
        task: The name of the task.
        folder: Where the task file lies.
    """
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    begin = time.process_time()
    results = simple_evaluate(
        model="hf",
        model_args={"pretrained": str(model), "dtype": "bfloat16"},
        tasks=[task],
        task_manager=TaskManager(include_path=str(folder), include_defaults=False),
        device="cpu",
        batch_size=16,
        bootstrap_iters=0,
        log_samples=False,
    )
    assert results is not None
    metric = EVALUATIONS[task].metric
    return {
        metric: results["results"][task][f"{metric},none"],
        "documents": results["n-samples"][task]["effective"],
        "scoring_cpu_seconds": time.process_time() - begin,
    }


def tuned(task: str, base: Path, output: Path, way: str, rate: float, seed: int) -> dict[str, Any]:
    """Fine-tune SmolLM2 as the command line does, and say what it took.

    Args:
        task: The name of the task, whose records lie in a folder of that name beside the base.
        base: The model's folder.
        output: Where it is saved.
        way: How its steps run.
        rate: Of learning.
        seed: Decides the order, and what is drawn.
    """
    evaluation, data = EVALUATIONS[task], base.parent / task
    settings = FinetuneSettings(
        model=str(base),
        data=str(data / "train.jsonl"),
        eval_data=str(data / "dev.jsonl"),
        template="plain",
        ratio=1.0 if way == "dense" else evaluation.ratio,
        learning_rate=rate,
        batch_size=evaluation.batch_size,
        max_length=evaluation.max_length,
        seed=seed,
        device="cpu",
        bf16=True,
        movement_check=False,
    )
    begin = time.process_time()
    result = finetune(settings, output=output)
    return {
        "rate": rate,
        "seed": seed,
        "steps": result.steps,
        "dev_loss_before": result.eval_loss_before,
        "dev_loss": result.eval_loss_after,
        "kept_share": result.kept_share,
        "cpu_seconds": time.process_time() - begin,
    }


def run(task: str, work: Path) -> None:
    """Run what is not recorded yet of one task."""
    EVALUATIONS[task].write(task, work / task)
    base, metric = untouched(work), EVALUATIONS[task].metric
    if not untouched_of(task).exists():
        write(untouched_of(task), score(base, task, work / task))

    def ensure(way: str, rate: float, seed: int, *, scored: bool) -> None:
        path, output = record_of(task, way, rate, seed), work / f"{task}-{way}-{rate:g}-{seed}"
        record = read(path) if path.exists() else {}
        if not record or (scored and metric not in record and not output.exists()):
            record = tuned(task, base, output, way, rate, seed)
            write(path, record)
        if scored and metric not in record:
            write(path, record | score(output, task, work / task))

    for way in WAYS:
        for rate in EVALUATIONS[task].rates:
            ensure(way, rate, 0, scored=False)
    for seed in SEEDS:
        for way in WAYS:
            ensure(way, chosen_rate(task, way), seed, scored=True)
            for folder in work.glob(f"{task}-*-{seed}") if seed else ():
                shutil.rmtree(folder)


def untouched(work: Path) -> Path:
    """A folder with the model before any training."""
    folder = work / "untouched"
    if not folder.exists():
        cpu = torch.device("cpu")
        model, tokenizer = load_pretrained("smollm2", device=cpu, dtype=torch.float32)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return folder


def main() -> None:
    """Run what is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tasks", nargs="*", default=list(EVALUATIONS), help="some of them")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["HF_DATASETS_CACHE"] = folder
        for name in arguments.tasks:
            run(name, Path(folder))


if __name__ == "__main__":
    main()
