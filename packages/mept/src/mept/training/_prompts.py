"""A base model with prompts on it: new ones, or those of an adapter's folder."""

from __future__ import annotations

import functools
import warnings
from pathlib import Path
from typing import Any

from peft import PeftConfig, PeftModel, get_peft_model
from peft.utils import CONFIG_NAME, SAFETENSORS_WEIGHTS_NAME
from safetensors import SafetensorError

from mept._config import MeptConfig
from mept.training._models import Base
from tokenseek_common import InputError

ADAPTER = "adapter"
"""The folder of the adapter in that of a run."""


def with_prompts(base: Base, **settings: Any) -> Any:
    """Freeze a model and give it prompts to train, with its head if it classifies.

    Args:
        base: The model.
        settings: Those of `MeptConfig`.

    Returns:
        The model inside PEFT.
    """
    config = MeptConfig(task_type=base.task_type, modules_to_save=base.unsaved or None, **settings)
    model = get_peft_model(base.model, config)
    # By default every save asks the hub whether the vocabulary has grown; here it never does.
    save = functools.partial(model.save_pretrained, save_embedding_layers=False)
    vars(model)["save_pretrained"] = save
    return model


def load_adapter(base: Base, folder: Path) -> Any:
    """Give a model the prompts that a folder holds.

    Raises:
        InputError: They are no prompts, not whole, or those of another model.
    """
    for name in (CONFIG_NAME, SAFETENSORS_WEIGHTS_NAME):  # what is missing, PEFT asks the hub for
        if not (folder / name).is_file():
            raise _damaged(folder, name, "it is missing")
    config = _config(folder)
    if not isinstance(config, MeptConfig):
        kind = getattr(config.peft_type, "value", config.peft_type)
        raise InputError(
            f"adapter ({folder}) must be one of this method, and is {kind}; choose another folder"
        )
    try:
        with warnings.catch_warnings():  # PEFT only warns of prompts that are not in the folder
            warnings.filterwarnings("error", "Found missing adapter keys", UserWarning)
            return PeftModel.from_pretrained(base.model, str(folder))
    except SafetensorError as error:
        raise _damaged(folder, SAFETENSORS_WEIGHTS_NAME, str(error)) from error
    except (RuntimeError, KeyError, UserWarning, OSError) as error:
        raise InputError(
            f"adapter ({folder}) must fit the model ({type(base.model).__name__}); "
            "give --model the one that it was trained on"
        ) from error


def _config(folder: Path) -> PeftConfig:
    try:
        config: PeftConfig = PeftConfig.from_pretrained(str(folder))
    except InputError:  # a value that the method does not take
        raise
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise _damaged(folder, CONFIG_NAME, str(error)) from error
    return config


def _damaged(folder: Path, name: str, damage: str) -> InputError:
    return InputError(
        f"adapter ({folder}) must have its {name} as mept train wrote it ({damage}); restore the "
        "file, or train the adapter anew"
    )
