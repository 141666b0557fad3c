"""Settings of the Trainer that every command line of ours has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import TrainingArguments


def trainer_arguments(folder: Path, *, device: torch.device, **settings: Any) -> TrainingArguments:
    """The Trainer's settings: silent unless told otherwise, on one device; and the given ones.

    Args:
        folder: Where checkpoints go.
        device: Where it trains.
        settings: Further fields of TrainingArguments.

    Returns:
        The settings; with them the Trainer never wraps a model in nn.DataParallel, whose replicas
        have none of the hooks that our methods rest on.

    Example:
        >>> trainer_arguments(Path("run"), device=torch.device("cpu"), max_steps=10)
    """
    arguments = TrainingArguments(
        output_dir=str(folder),
        save_strategy="steps",
        log_level="error",
        disable_tqdm=True,
        remove_unused_columns=False,  # our examples have none
        use_cpu=device.type == "cpu",
        dataloader_pin_memory=device.type == "cuda",  # torch warns elsewhere
        **{"report_to": "none", **settings},
    )
    _ = arguments.device  # decides on the number of devices, so that the next line lasts
    arguments._n_gpu = min(arguments._n_gpu, 1)
    return arguments
