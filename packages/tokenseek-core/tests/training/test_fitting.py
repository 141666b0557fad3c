"""`--ratio auto`: the most that fits by the forecast."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from planned import small_llama
from tokenseek_common import InputError
from tokenseek_common.cli import Console
from tokenseek_core import TokenSeekConfig
from tokenseek_core._instances import Instance
from tokenseek_core.estimate import Plan
from tokenseek_core.estimate._plans import ids
from tokenseek_core.inspect import Method
from tokenseek_core.training import FinetuneSettings
from tokenseek_core.training._fitting import fitted_ratio

INSTANCES = [Instance(256, 255), Instance(200, 199), Instance(9, 8)]
DEEP = small_llama(num_hidden_layers=6)  # so that the kept rows weigh more than all those of one
ASKED = FinetuneSettings(
    model="m",
    data="d",
    batch_size=2,
    ratio="auto",
    device_memory="1TiB",
    adapter="lora",
    selector="random",
    gradient="restart",
)


def peak(ratio: float) -> int:
    """What a step of the two longest needs, by the same forecast."""
    method = Method(
        "TokenSeek", replace(TokenSeekConfig.paper(), selector="random", ratio=ratio, check=False)
    )
    plan = Plan(method, ASKED.adapters, supervised=454 / 456)
    return plan.estimator(DEEP, torch.float32)(ids(2, 256)).peak


def fitted(memory: str) -> float:
    settings = replace(ASKED, device_memory=memory)
    return fitted_ratio(settings, DEEP, torch.float32, INSTANCES, Console(quiet=True))


def test_the_largest_ratio_that_fits_is_chosen() -> None:
    needed = peak(0.2)
    assert fitted(f"{needed}B") == 0.2
    assert fitted(f"{needed - 1}B") == 0.15
    assert fitted("1TiB") == 0.5


def test_where_no_step_fits_the_way_out_is_told() -> None:
    with pytest.raises(InputError) as error:
        fitted("1MB")
    assert str(error.value).startswith(
        "device_memory (1MB) must hold a step, and one that keeps the least takes "
    )
    assert str(error.value).endswith(
        "by the forecast; choose a smaller --batch-size or --max-length, --gradient-checkpointing, "
        "or --adapter qlora"
    )
