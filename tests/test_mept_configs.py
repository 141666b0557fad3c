"""The recipes in configs/ run as they are, but for the size of the model and where samples lie."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from peft import PeftConfig

from mept.cli import main
from saved import save_rows, save_tiny
from workspace import ROOT

CONFIGS = sorted((ROOT / "configs").glob("mept-*.yaml"))
TEXT = "the sun of a day and the rain"
ROWS: dict[str, dict[str, Any]] = {
    "boolq": {"question": TEXT, "passage": TEXT, "label": True},
    "cb": {"premise": TEXT, "hypothesis": TEXT, "label": "neutral"},
    "copa": {"premise": TEXT, "question": "cause", "choice1": "a", "choice2": "the", "label": 1},
    "multirc": {"paragraph": TEXT, "question": TEXT, "answer": "sun", "label": 0},
    "rte": {"premise": TEXT, "hypothesis": TEXT, "label": "entailment"},
    "wic": {"sentence1": TEXT, "sentence2": TEXT, "word": "sun", "label": False},
}


@pytest.mark.parametrize("config", CONFIGS, ids=[path.stem for path in CONFIGS])
def test_a_recipe_takes_two_steps(config: Path, tmp_path: Path) -> None:
    recipe = yaml.safe_load(config.read_text())
    family = "t5" if "t5" in config.stem else "llama"
    settings = {} if family == "t5" else {"max_position_embeddings": 600}
    model = save_tiny(tmp_path / "model", family, **settings)
    tasks = []
    for name in recipe["task"]:
        rows = [ROWS[name] | {"idx": {"question": place}} for place in range(12)]
        if name == "multirc":  # questions about one paragraph stay together
            rows = [row | {"paragraph": f"{TEXT} {place}"} for place, row in enumerate(rows)]
        tasks.append(f"{name}={save_rows(tmp_path / f'{name}.jsonl', rows)}")
    output = tmp_path / "run"
    command = ["train", "--config", str(config), "--model", str(model), "--task", *tasks]
    command += ["--steps", "2", "--no-generation", "--quiet", "--device", "cpu", "-o", str(output)]
    assert main(command) == 0
    result = json.loads((output / "result.json").read_text())
    assert (result["steps"], result["tasks"]) == (2, recipe["task"])
    for name in recipe.keys() - {"model", "task"}:
        assert result["options"][name] == recipe[name], name
    saved = PeftConfig.from_pretrained(str(output / "adapter"))
    for name in ("router", "router_noise", "init", "num_experts", "top_k", "num_virtual_tokens"):
        assert getattr(saved, name) == recipe.get(name, getattr(saved, name))
