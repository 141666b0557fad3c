"""The three trainings, as commands that are started, killed and gone on with."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import torch
import yaml
from safetensors.torch import load_file, save
from transformers import BertConfig, BertModel, LlamaConfig, LlamaForCausalLM

from saved import mood_rows, save_rows, tiny_tokenizer

STEPS = 24
"""Of every run; each of them is saved."""

INTERVAL = 1
"""Steps from one save to the next."""


@dataclass(frozen=True)
class Command:
    """A training as its users start it.

    Args:
        module: Where its `main` is.
        options: All but the number of steps, and the folder.
        weights: The file in the folder that the run ends with.
        checkpoints: Where its checkpoints lie, by a pattern in which the step comes last.
        steps: Makes the options of a run of so many steps, and of so many between two saves.
        processes: Whether several of it train together.
    """

    module: str
    options: tuple[str, ...]
    weights: str
    checkpoints: str
    steps: Callable[[int, int], tuple[str, ...]]
    processes: bool

    def start(
        self,
        output: Path,
        *more: str,
        steps: int = STEPS,
        interval: int = INTERVAL,
        environment: Mapping[str, str] | None = None,
    ) -> Run:
        """Start it in a process of its own."""
        arguments = ["train" if self.module != "tokenseek_core.cli" else "finetune"]
        arguments += [*self.options, *self.steps(steps, interval), "--output", str(output), *more]
        return Run(self.module, arguments, environment or {})

    def newest(self, output: Path) -> int:
        """The step of the newest checkpoint that was begun, whole or not; 0 where there is none."""
        found = [path.name.removesuffix(".partial") for path in output.glob(self.checkpoints)]
        return max([int(name.rpartition("-")[2]) for name in found if name[-1].isdigit()] or [0])

    def result(self, output: Path) -> bytes:
        """The weights that it ended with."""
        return save(load_file(output / self.weights))


class Run:
    """A command that was started, and what it has said."""

    def __init__(self, module: str, arguments: list[str], environment: Mapping[str, str]) -> None:
        said = Path(mkdtemp(prefix="said-"))  # on another disk than the run's
        self.out, self.err = said / "out", said / "err"
        told = (str(self.out), str(self.err))
        self.process: ForkServerProcess = WARM.Process(
            target=_child, args=(module, arguments, told, dict(environment))
        )
        self.process.start()

    def wait(self, timeout: float = 600) -> tuple[int, str]:
        """Its exit code, and what it said on stderr."""
        self.process.join(timeout)
        assert self.process.exitcode is not None, "it does not end"
        return self.process.exitcode, self.err.read_text()


def _child(
    module: str, arguments: list[str], said: tuple[str, str], environment: dict[str, str]
) -> None:
    """Run a command in a process that has imported what it needs."""
    os.environ |= environment
    for stream, path in zip((1, 2), said, strict=True):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
    torch.set_num_threads(1)
    sys.exit(import_module(module).main(arguments))


WARM = multiprocessing.get_context("forkserver")
"""Its processes begin where torch, transformers and the packages are imported."""
WARM.set_forkserver_preload(
    [
        "tokenseek_core.cli._finetune",
        "tokenseek_core.training._finetune",
        "mept.cli._train",
        "promotion.cli._train",
        "transformers.models.llama.modeling_llama",
        "transformers.models.bert.modeling_bert",
    ]
)


def save_model(folder: Path, kind: str) -> Path:
    """A tiny model that has what is random in a training: dropout."""
    torch.manual_seed(0)
    sizes: dict[str, Any] = {
        "vocab_size": 64,
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    if kind == "llama":
        LlamaForCausalLM(LlamaConfig(**sizes, attention_dropout=0.1)).save_pretrained(folder)
    else:
        BertModel(BertConfig(**sizes, hidden_dropout_prob=0.1)).save_pretrained(folder)
    tiny_tokenizer(kind).save_pretrained(folder)
    return folder


def commands(folder: Path) -> dict[str, Command]:
    """The three of them, and the files that they read."""
    texts = folder / "texts.jsonl"
    texts.write_text('{"text": "the old day of song and feast and rain"}\n' * 40)
    moods = save_rows(folder / "moods.jsonl", mood_rows(60))
    scenes = {
        "model": {"size": "nano", "em_steps": 0},
        **{"workers": 0, "held_out": 1, "evaluate_every": 10_000},
    }
    stage = {"name": "only", "batch_size": 1, "sizes": [[32, 40]], "iterations": 1}

    def of_scenes(steps: int, interval: int) -> tuple[str, ...]:
        path = folder / f"scenes-{steps}.yaml"
        training = {**scenes, "save_every": interval, "stages": [{**stage, "steps": steps}]}
        path.write_text(yaml.safe_dump(training))
        return ("--config", str(path))

    def saving(steps: int, interval: int) -> tuple[str, ...]:
        return ("--steps", str(steps), "--save-steps", str(interval))

    def evaluating(steps: int, interval: int) -> tuple[str, ...]:
        return ("--steps", str(steps), "--evaluate-every", str(interval))

    return {
        "tokenseek": Command(
            "tokenseek_core.cli",
            (
                *("--model", str(save_model(folder / "llama", "llama")), "--data", str(texts)),
                *("--batch-size", "2", "--device", "cpu"),
                *("--selector", "random", "--gradient", "restart"),
            ),
            weights="model.safetensors",
            checkpoints="checkpoint-*",
            steps=saving,
            processes=True,
        ),
        "mept": Command(
            "mept.cli",
            (
                *("--model", str(save_model(folder / "bert", "bert")), "--task", f"mood={moods}"),
                *("--labels", "glad", "sad", "--max-length", "24", "--batch-size", "4"),
                *("--device", "cpu"),
            ),
            weights="adapter/adapter_model.safetensors",
            checkpoints="checkpoints/checkpoint-*",
            steps=evaluating,
            processes=False,
        ),
        "promotion": Command(
            "promotion.cli",
            ("--device", "cpu"),
            weights="model.safetensors",
            checkpoints="step-*",
            steps=of_scenes,
            processes=True,
        ),
    }


NAMES = ("tokenseek", "mept", "promotion")
