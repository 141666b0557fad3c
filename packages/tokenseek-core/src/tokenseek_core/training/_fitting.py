"""The largest share of the tokens whose steps fit a device, by the forecast."""

from __future__ import annotations

import functools
import heapq
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace

import torch
from transformers import PreTrainedConfig

from tokenseek_common import InputError
from tokenseek_common.cli import Console
from tokenseek_common.memory import format_bytes
from tokenseek_core._config import TokenSeekConfig
from tokenseek_core._instances import Instance, share_kept, supervised_share
from tokenseek_core.estimate import Plan
from tokenseek_core.estimate._device_memory import parse_memory
from tokenseek_core.estimate._plans import ids
from tokenseek_core.inspect import Method
from tokenseek_core.models._pretrained import quiet
from tokenseek_core.training._settings import FinetuneSettings

RATIOS = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5)
"""What `--ratio auto` chooses from; from 0.6 on a step is dense."""


def fitted_ratio(
    settings: FinetuneSettings,
    config: PreTrainedConfig,
    dtype: torch.dtype,
    instances: Sequence[Instance],
    console: Console,
) -> float:
    """Choose the largest ratio whose steps fit, and tell it.

    A step's memory is forecast for a batch of the longest instances, without autocast.

    Args:
        settings: What is asked for, the device's memory too.
        config: The model's.
        dtype: Precision of the weights.
        instances: All that are trained on.
        console: Where it is told.

    Raises:
        InputError: Not even the smallest ratio fits, or TokenSeek cannot train the model.
    """
    assert settings.device_memory is not None
    memory = parse_memory(settings.device_memory)
    longest = heapq.nlargest(settings.batch_size, instances)

    def chosen(ratio: float) -> TokenSeekConfig:
        return replace(settings, ratio=ratio, device_memory=None).config_for(instances)

    @functools.cache
    def peak(ratio: float) -> int:
        method = Method(
            "TokenSeek",
            replace(chosen(ratio), check=False),
            checkpointing=settings.gradient_checkpointing,
        )
        four_bit = settings.trained == "qlora"
        plan = Plan(method, settings.adapters, four_bit, supervised_share(longest))
        with quiet():
            estimator = plan.estimator(config, dtype)
            return estimator(ids(settings.batch_size, longest[0].length)).peak

    console.note("forecasting the memory of a step")
    fitting = bisect_right(RATIOS, memory, key=peak)
    if not fitting:
        raise InputError(
            f"device_memory ({settings.device_memory}) must hold a step, and one that keeps the "
            f"least takes {format_bytes(peak(RATIOS[0]))} by the forecast; choose a smaller "
            "--batch-size or --max-length, --gradient-checkpointing, or --adapter qlora"
        )
    ratio = RATIOS[fitting - 1]
    share = share_kept(instances, chosen(ratio))
    console.note(
        f"keeps {share:.0%} of the tokens: the most that fits {settings.device_memory} by the "
        f"forecast ({format_bytes(peak(ratio))} with --ratio {ratio:g})"
    )
    return ratio
