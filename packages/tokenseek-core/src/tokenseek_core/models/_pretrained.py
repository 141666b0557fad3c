"""Load the model that a command line names: the embedded one, a folder or a hub id."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr

import torch
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from tokenseek_common import InputError
from tokenseek_core.models._embedded import SMOLLM2, check_source, smollm2_file


def load_pretrained(
    source: str, *, device: torch.device, dtype: torch.dtype
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a causal language model and its tokenizer.

    Args:
        source: "smollm2", a folder that `save_pretrained` wrote, or an id on the hub.
        device: Where the model goes.
        dtype: Its floating type.

    Returns:
        The model in evaluation mode, and a tokenizer that has a padding token.

    Raises:
        InputError: There is no such model, or it is no causal language model.
    """
    tokenizer = load_tokenizer(source)
    with quiet():
        if source == SMOLLM2:
            model = _load_smollm2(dtype)
        else:
            with _refused(source):
                model = AutoModelForCausalLM.from_pretrained(
                    source, dtype=dtype, trust_remote_code=False
                )
    # transformers wraps `to` in a way that hides its signature.
    return nn.Module.to(model, device), tokenizer


def load_tokenizer(source: str) -> PreTrainedTokenizerBase:
    """Load a model's tokenizer alone.

    Args:
        source: "smollm2", a folder that `save_pretrained` wrote, or an id on the hub.

    Returns:
        A tokenizer that has a padding token.

    Raises:
        InputError: There is none.
    """
    check_source(source)
    with quiet(), _refused(source):
        if source == SMOLLM2:
            file = smollm2_file()
            tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
        else:
            tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


@contextmanager
def _refused(source: str) -> Iterator[None]:
    """Tell in one sentence what transformers cannot load.

    Raises:
        InputError: It cannot.
    """
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0].rstrip(" .")
        if isinstance(error, RuntimeError):
            if "ignore_mismatched_sizes" not in reason:
                raise
            reason = "its weights have other shapes than its config.json"
        raise InputError(
            f"model ({source}) must be a causal language model that transformers can load "
            f"({reason}); give a folder, a hub id or {SMOLLM2}"
        ) from error


def _load_smollm2(dtype: torch.dtype) -> PreTrainedModel:
    """Dequantise the 4-bit weights into an ordinary model, which can be trained and saved."""
    file = smollm2_file()
    loaded = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=dtype)
    # The loaded model is flagged as quantised and refuses to be saved; its weights are not.
    config = loaded.config
    del config.quantization_config
    model: PreTrainedModel = type(loaded)(config)
    nn.Module.to(model, dtype)
    model.load_state_dict(loaded.state_dict())
    model.tie_weights()
    model.eval()
    return model


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the loaders' own bars and remarks off the screen; what matters, they raise."""
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    try:
        with redirect_stderr(io.StringIO()):
            yield
    finally:
        transformers_logging.set_verbosity(verbosity)
