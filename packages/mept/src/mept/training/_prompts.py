"""A base model with prompts on it: new ones, or those of an adapter's folder."""

from __future__ import annotations

import functools
import warnings
from pathlib import Path
from typing import Any

from peft import PeftConfig, PeftModel, get_peft_model

from mept._config import MeptConfig
from mept.training._classification import ClassificationForm
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
    config = MeptConfig(
        task_type=_task_type(base), modules_to_save=base.unsaved or None, **settings
    )
    model = get_peft_model(base.model, config)
    # By default every save asks the hub whether the vocabulary has grown; here it never does.
    save = functools.partial(model.save_pretrained, save_embedding_layers=False)
    vars(model)["save_pretrained"] = save
    return model


def load_adapter(base: Base, folder: Path) -> Any:
    """Give a model the prompts that a folder holds.

    Raises:
        InputError: They are no prompts, or those of another model.
    """
    try:
        config = PeftConfig.from_pretrained(str(folder))
        if not isinstance(config, MeptConfig):
            raise InputError(
                f"adapter ({folder}) must be one of this method, and is {config.peft_type.value}; "
                "choose another folder"
            )
        with warnings.catch_warnings():  # PEFT only warns of prompts that are not in the folder
            warnings.filterwarnings("error", "Found missing adapter keys", UserWarning)
            return PeftModel.from_pretrained(base.model, str(folder))
    except (RuntimeError, KeyError, UserWarning, OSError) as error:
        raise InputError(
            f"adapter ({folder}) must fit the model ({type(base.model).__name__}); "
            "give --model the one that it was trained on"
        ) from error


def _task_type(base: Base) -> str:
    if isinstance(base.form, ClassificationForm):
        return "SEQ_CLS"
    return "SEQ_2_SEQ_LM" if base.model.config.is_encoder_decoder else "CAUSAL_LM"
