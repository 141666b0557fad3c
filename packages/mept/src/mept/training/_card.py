"""The model card of an adapter: what it is, how it is opened, and what came of its training."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mept.training._asked import Asked
from mept.training._heads import HEADS
from mept.training._models import head_class

CARD = "README.md"


def write_card(folder: Path, asked: Asked, result: Mapping[str, Any], *, base: str) -> None:
    """Write the card of an adapter beside it, in place of PEFT's, which is a form to fill in.

    Args:
        folder: The adapter's.
        asked: How it is asked.
        result: What `mept train` found.
        base: What the adapter calls its base model: a hub id, or a folder of this machine.
    """
    (folder / CARD).write_text(model_card(asked, result, base=base), encoding="utf-8")


def model_card(asked: Asked, result: Mapping[str, Any], *, base: str) -> str:
    """Make the card; a folder of this machine is not named as the base, which nobody could open."""
    on_hub = not Path(base).exists()
    opened = head_class(asked)
    called = base if on_hub else f"a model of type {asked.model_type}"
    place = base if on_hub else "folder-of-the-base"
    head = f", num_labels={asked.output_count}" if asked.output_count else ""
    options = result["options"]
    learnt = result["samples"]["train"]
    figures = {
        "prompt rows of a layer": options["num_virtual_tokens"],
        "experts, of which used": f"{options['num_experts']}, {options['top_k']}",
        "trained parameters": result["parameters"]["trainable"],
        "steps, chosen": f"{result['steps']}, {result['chosen_step']}",
        "batch": options["batch_size"],
        "learning rate": result["learning_rate"],
        "seed": options["seed"],
    }
    lines = [
        "---",
        *([f"base_model: {base}"] if on_hub else []),
        "library_name: peft",
        f"pipeline_tag: {HEADS[asked.form].pipeline if asked.form in HEADS else 'text-generation'}",
        "tags:",
        "- mept",
        "- transformers",
        "---",
        "",
        f"# {', '.join(task.name for task in asked.tasks)}",
        "",
        f"Prompts mixed from experts (MEPT) for {called}, trained by `mept train`.",
        "",
        "| task | labels | samples learnt | score on test |",
        "|---|---|---|---|",
        *(
            f"| {task.name} | {', '.join(task.labels) or '-'} | {learnt[task.name]} | "
            f"{result['test']['chosen'][task.name]['score']:.4g} |"
            for task in asked.tasks
        ),
        "",
        "`pip install mept` brings the method, and `import mept` adds it to PEFT:",
        "",
        "```python",
        "import mept",
        "from peft import PeftModel",
        f"from transformers import {opened.__name__}",
        "",
        f'base = {opened.__name__}.from_pretrained("{place}"{head})',
        'model = PeftModel.from_pretrained(base, "folder-or-hub-id-of-this-adapter")',
        "```",
        "",
        "On the command line, with this folder: `mept predict FOLDER rows.jsonl`.",
        "",
        "| | |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in figures.items()),
        *(f"| {name} | {version(name)} |" for name in ("mept", "peft", "transformers", "torch")),
    ]
    return "\n".join(lines) + "\n"
