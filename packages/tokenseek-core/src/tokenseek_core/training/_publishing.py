"""A fine-tuned folder on the hub, with a card that says how it came about."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import HfApi, get_token
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils._validators import validate_repo_id

from tokenseek_common import InputError, RunError
from tokenseek_core.models._embedded import SMOLLM2, SMOLLM2_HUB_ID
from tokenseek_core.training._result import FinetuneResult
from tokenseek_core.training._settings import FinetuneSettings

LEFT_HERE = ["checkpoint-*", "cut-off-checkpoint-*", "runs/*"]
"""What of a folder is not sent."""

UNSAID = ("model", "output", "seconds", "tokens per second")
"""Figures that say nothing of the model, or that its card says elsewhere."""


def check_repository(name: str) -> None:
    """Refuse a name that the hub would, and a run that could not be sent there.

    Raises:
        InputError: The name is none, or there is no token.
    """
    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise InputError(
            f"push_to_hub ({name}) must be the name of a repository such as you/model; choose "
            "another"
        ) from error
    if get_token() is None:
        raise InputError(
            f"push_to_hub ({name}) must have a token of the hub; run `hf auth login`, or set "
            "HF_TOKEN"
        )


def publish(settings: FinetuneSettings, name: str, result: FinetuneResult) -> None:
    """Write a model card into the folder, and send it.

    Args:
        settings: What was asked for.
        name: The repository; it is made where there is none.
        result: What came of it, with the folder.

    Raises:
        RunError: The hub cannot be reached, or refuses it; the folder stays.
    """
    folder = result.output
    (folder / "README.md").write_text(model_card(settings, name, result), encoding="utf-8")
    api = HfApi()
    try:
        api.create_repo(name, exist_ok=True)
        api.upload_folder(repo_id=name, folder_path=folder, ignore_patterns=LEFT_HERE)
    except Exception as error:  # the hub's library has many, and those of its own libraries
        said = next((line.strip(" .") for line in str(error).splitlines() if line.strip()), "")
        raise RunError(
            f"push_to_hub ({name}) must be something that the hub takes, but "
            f"{type(error).__name__} came ({said}); the model stays in {folder}, send it later "
            f"with `hf upload {name} {folder} --exclude 'checkpoint-*'`"
        ) from error


def model_card(settings: FinetuneSettings, name: str, result: FinetuneResult) -> str:
    """What was fine-tuned on what, how, and what came of it."""
    base = SMOLLM2_HUB_ID if settings.model == SMOLLM2 else settings.model
    on_hub = settings.model == SMOLLM2 or not Path(settings.model).is_dir()
    told = {
        "adapter": settings.trained,
        "ratio": settings.ratio,
        "learning rate": settings.peak_rate,
        **{figure.replace("_", " "): value for figure, value in result.summary().items()},
    }
    rows = [
        f"| {figure} | {value:.4g} |" if isinstance(value, float) else f"| {figure} | {value} |"
        for figure, value in told.items()
        if value is not None and figure not in UNSAID
    ]
    opened = "AutoModelForCausalLM" if settings.adapters is None else "AutoPeftModelForCausalLM"
    library = "transformers" if settings.adapters is None else "peft"
    lines = [
        "---",
        *([f"base_model: {base}"] if on_hub else []),
        f"library_name: {library}",
        "pipeline_tag: text-generation",
        "tags:",
        "- tokenseek",
        "---",
        "",
        f"# {name.split('/')[-1]}",
        "",
        f"{base if on_hub else Path(base).name}, fine-tuned by `tokenseek finetune`.",
        "",
        "```python",
        f"from {library} import {opened}",
        "",
        f'model = {opened}.from_pretrained("{name}")',
        "```",
        "",
        "| | |",
        "|---|---|",
        *rows,
    ]
    return "\n".join(lines) + "\n"
