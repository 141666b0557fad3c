"""What the code on the documentation's pages takes for granted: a model, a trainer, files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    Trainer,
    TrainingArguments,
)

from promotion import ProMotion, ProMotionConfig, export_model
from saved import mood_rows, save_rows, save_tiny, tiny_tokenizer
from tiny_models import random_model, tiny_config

BOOLQ = {"question": "a day", "passage": "the sun", "label": True}
CB = {"premise": "the sun", "hypothesis": "a day", "label": "neutral"}


class Routed(nn.Module):
    """Parts of the names that tokenseek-common's patterns have."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.ModuleDict({"linear": nn.Linear(4, 4), "norm": nn.LayerNorm(4)})
        self.router = nn.Linear(4, 8)
        self.experts = nn.ModuleList(nn.Linear(4, 4) for _ in range(8))

    def forward(self, states: Tensor) -> SimpleNamespace:
        """The loss of some states, [b, 4]."""
        states = self.encoder["norm"](self.encoder["linear"](states))
        gates = self.router(states).softmax(-1)
        mixed = sum(gates[:, e, None] * self.experts[e](states) for e in range(8))
        return SimpleNamespace(loss=torch.as_tensor(mixed).square().mean())


def language_model(*_: Any, **__: Any) -> Any:
    """A decoder of three small layers."""
    return random_model(AutoModelForCausalLM, tiny_config("llama")).float().train()


def texts(count: int = 8) -> dict[str, Tensor]:
    """Tokens that are all to be predicted but the first four."""
    ids = torch.randint(3, 40, (count, 12), generator=torch.manual_seed(0))
    return {"input_ids": ids, "labels": ids.masked_fill(torch.arange(12) < 4, -100)}


@dataclass
class Stage:
    """The names of one page's code, made when the page asks for them, and its files."""

    folder: Path
    names: dict[str, Any] = field(default_factory=dict)

    def provide(self, wanted: set[str]) -> None:
        """Make the names that nothing on the page makes."""
        for name in sorted(wanted):
            self.names[name] = MADE[name](self)

    def train(self) -> None:
        """Two steps of the Trainer with the model that the page has now."""
        rows = [{name: value[row] for name, value in texts().items()} for row in range(8)]
        arguments = TrainingArguments(
            str(self.folder / "trainer"),
            max_steps=2,
            per_device_train_batch_size=2,
            report_to="none",
            use_cpu=True,
            save_strategy="no",
            disable_tqdm=True,
        )
        Trainer(model=self.names["model"], args=arguments, train_dataset=rows).train()


MADE: dict[str, Callable[[Stage], Any]] = {
    "model": language_model,
    "base": language_model,
    "encoder": lambda _: random_model(
        AutoModelForSequenceClassification, tiny_config("bert")
    ).float(),
    "batch": lambda _: texts(2),
    "inputs": lambda _: {"input_ids": texts(1)["input_ids"], "max_new_tokens": 2},
    "batches": lambda _: [{"input_ids": texts()["input_ids"]}],
    "scored": lambda _: [(task, {"input_ids": texts()["input_ids"]}) for task in ("a", "b")],
    "tokenizer": lambda _: tiny_tokenizer("llama"),
    "trainer": lambda stage: SimpleNamespace(train=stage.train),
    "frames": lambda _: list(torch.rand(3, 3, 64, 64)),
}


def write_files(folder: Path) -> None:
    """Write the files that pages name."""
    save_tiny(folder / "path/to/model", "llama")
    rows: list[dict[str, Any]] = [
        {"instruction": row["text"], "output": row["label"]} for row in mood_rows(8)
    ]
    save_rows(folder / "train.jsonl", rows)
    lines = ["instruction,output", *(f"{row['instruction']},{row['output']}" for row in rows)]
    (folder / "train.csv").write_text("\n".join(lines) + "\n")
    preference = {"prompt": "the day", "chosen": "glad", "rejected": "sad"}
    save_rows(folder / "preferences.jsonl", [preference] * 4)
    for name, row in (("BoolQ", BOOLQ), ("CB", CB)):
        save_rows(folder / "SuperGLUE" / name / "train.jsonl", [row] * 20)
    for name in ("a", "b"):
        pixels = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}.png")


def write_exports(folder: Path) -> None:
    """Write what `promotion export` does."""
    model = ProMotion(ProMotionConfig.size("nano"))  # in a third of the time
    (folder / "out").mkdir()
    (folder / "out2").mkdir()
    export_model(model, folder / "out/promotion.onnx", format="onnx", iterations=2)
    export_model(model, folder / "out2/promotion.pt2", iterations=2)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that all pages' code runs in."""
    folder = tmp_path_factory.mktemp("site")
    write_files(folder)
    return folder


@pytest.fixture
def stage(files: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """A page's stage; models of the hub are small ones."""
    monkeypatch.chdir(files)
    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", language_model)
    return Stage(files)
