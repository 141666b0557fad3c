"""From a model and records to the way to train the one on the other."""

from __future__ import annotations

import dataclasses
from collections import Counter

from transformers import PreTrainedConfig

from tokenseek_common.cli import Console, resolve_device, resolve_dtype
from tokenseek_common.data import check_vocabulary, encode_records, load_records
from tokenseek_core._config import TokenSeekConfig
from tokenseek_core._instances import instance_of, suited_config, supervised_share
from tokenseek_core.advise._option import Option
from tokenseek_core.advise._recommendation import (
    ANSWERS,
    ANSWERS_CHECKPOINTED,
    recommend,
)
from tokenseek_core.advise._result import Advice, Material
from tokenseek_core.advise._settings import AdviseSettings
from tokenseek_core.estimate import Adapters, Plan
from tokenseek_core.estimate._device_memory import parse_memory
from tokenseek_core.estimate._plans import admit, ids
from tokenseek_core.inspect import Method, methods
from tokenseek_core.inspect._operations import Sizes, step_operations
from tokenseek_core.models._adapters import check_peft, has_peft
from tokenseek_core.models._config_source import load_config
from tokenseek_core.models._embedded import check_source
from tokenseek_core.models._positions import check_positions
from tokenseek_core.models._pretrained import load_tokenizer, quiet

USUAL_LENGTH = 1024
"""Tokens of a sequence at most, where nothing is asked for."""


def advise(settings: AdviseSettings, *, console: Console | None = None) -> Advice:
    """Say how to fine-tune a model on data, before anything is trained.

    The data are encoded as `finetune` does it. Memory is forecast for a batch of the longest
    examples, as `estimate` does it; operations are counted over all examples, from the model's
    sizes. No weights are needed.

    Args:
        settings: Which model, which data, which device.
        console: Where notes and progress are told; None tells nothing.

    Returns:
        What each way takes, and which one to choose.

    Raises:
        InputError: Model or data cannot be read, or TokenSeek cannot train the model.

    Example:
        >>> advice = advise(AdviseSettings(model="smollm2", data="train.jsonl"))  # doctest: +SKIP
        >>> advice.recommendation.step  # doctest: +SKIP
    """
    console = Console(quiet=True) if console is None else console
    check_source(settings.model)
    if settings.lora:
        check_peft("lora (True)")
    config = load_config(settings.model)
    material = _material(settings, config)
    dtype = resolve_dtype(settings.dtype, resolve_device(settings.device))
    with quiet():
        admit(config, TokenSeekConfig(), dtype)
        sizes = Sizes.of(config)
    chosen = _plans(settings, material)
    peaks, operations = [], []
    with console.progress("estimating", total=len(chosen)) as progress:
        for plan in chosen:
            with quiet():
                estimator = plan.estimator(config, dtype)
                peaks.append(estimator(ids(settings.batch_size, material.longest)).peak)
            operations.append(_operations(sizes, material, plan))
            progress.advance(peak_GiB=peaks[-1] / 2**30)
    capacity = None if settings.device_memory is None else parse_memory(settings.device_memory)
    options = tuple(
        Option(
            step=plan.name,
            exact=plan.method.config is None,
            peak=peak,
            memory=peak / peaks[0],
            operations=count / operations[0],
            fits=None if capacity is None else peak <= capacity,
        )
        for plan, peak, count in zip(chosen, peaks, operations, strict=True)
    )
    asked = {
        plan.method.name: option
        for plan, option in zip(chosen, options, strict=True)
        if (plan.adapters is not None) == settings.lora
    }
    return Advice(
        settings, material, options, recommend(settings, asked, material.supervised_share)
    )


def _material(settings: AdviseSettings, config: PreTrainedConfig) -> Material:
    """Encode the data as a fine-tuning would.

    Raises:
        InputError: They cannot be read, or the model has fewer positions than were asked for.
    """
    records = load_records(settings.data)
    longest = getattr(config, "max_position_embeddings", None) or USUAL_LENGTH
    asked = settings.length
    if asked is not None:
        check_positions(asked, longest, field="length", source=settings.model)
    tokenizer = load_tokenizer(settings.model)
    limit = min(USUAL_LENGTH, longest) if asked is None else asked
    examples = encode_records(records, tokenizer, max_length=limit, template=settings.template)
    check_vocabulary(examples, tokenizer, rows=config.vocab_size)
    return Material(tuple(map(instance_of, examples)), settings.batch_size)


def _plans(settings: AdviseSettings, material: Material) -> list[Plan]:
    """Every way that the data leave, the dense one first; LoRA is set beside full tuning."""
    ways = methods(TokenSeekConfig(check=False))
    answers = suited_config(TokenSeekConfig(), material.instances)
    if answers.answer_ratio is not None:
        answers = dataclasses.replace(answers, check=False)
        ways += (
            Method(ANSWERS, answers),
            Method(ANSWERS_CHECKPOINTED, answers, checkpointing=True),
        )
    adapters = Adapters()
    share = supervised_share(material.longest_batch)
    made = [Plan(way, adapters if settings.lora else None, supervised=share) for way in ways]
    if not settings.lora and has_peft():
        made.append(Plan(ways[0], adapters, supervised=share))
    return made


def _operations(sizes: Sizes, material: Material, plan: Plan) -> float:
    """Those of a pass over all examples."""
    return sum(
        count * step_operations(sizes, each, plan.method, adapters=plan.adapters is not None)
        for each, count in Counter(material.instances).items()
    )
