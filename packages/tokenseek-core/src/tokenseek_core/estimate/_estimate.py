"""Every way to fine-tune, run on tensors without memory."""

from __future__ import annotations

import functools

from torch import Tensor, nn

from tokenseek_common.cli import Console, resolve_device, resolve_dtype
from tokenseek_common.memory import Estimator, MemoryReport
from tokenseek_core.estimate._device_memory import parse_memory
from tokenseek_core.estimate._plans import admit, ids, missing_libraries, plans
from tokenseek_core.estimate._rows import Estimate, Room, Row
from tokenseek_core.estimate._search import largest_that_fits
from tokenseek_core.estimate._settings import EstimateSettings
from tokenseek_core.models._adapters import Adapters
from tokenseek_core.models._config_source import load_config
from tokenseek_core.models._positions import check_positions
from tokenseek_core.models._pretrained import quiet

LONGEST = 2**20
"""Tokens of a sequence at most, where a config does not say."""

LARGEST = 2**16
"""Sequences of a batch at most."""


def estimate(settings: EstimateSettings, *, console: Console | None = None) -> Estimate:
    """Tell what training steps of a model need, from its config alone.

    Each way to fine-tune that the installed libraries allow is run on tensors without memory, and
    the ledger of its second step is kept. Batches have no padding; the
    optimizer is fused AdamW.

    Args:
        settings: Which model, and which steps.
        console: Where notes and progress are told; None tells nothing.

    Returns:
        The ledger of each step and, where a device's memory is given, what fits into it.

    Raises:
        InputError: The config cannot be read, or is none of a model that TokenSeek trains, or has
            fewer positions than the sequences.

    Example:
        >>> found = estimate(EstimateSettings(length=128))  # doctest: +SKIP
        >>> {row.step: row.memory.peak for row in found.rows}  # doctest: +SKIP
    """
    console = Console(quiet=True) if console is None else console
    dtype = resolve_dtype(settings.dtype, resolve_device(settings.device))
    config = load_config(settings.model)
    longest = getattr(config, "max_position_embeddings", None) or LONGEST
    check_positions(settings.length, longest, field="length", source=settings.model)
    with quiet():
        admit(config, settings.chosen, dtype)
    for remark in missing_libraries():
        console.note(remark)
    adapters = Adapters(settings.lora_rank, settings.lora_float32)
    chosen = plans(settings.chosen, adapters, settings.supervised)
    rows = []
    with console.progress("estimating", total=len(chosen)) as progress:
        for plan in chosen:
            with quiet():
                rows.append(_row(settings, plan.name, plan.estimator(config, dtype), longest))
            progress.advance(peak_GiB=rows[-1].memory.peak / 2**30)
    return Estimate(settings, str(dtype).removeprefix("torch."), tuple(rows))


def _row(
    settings: EstimateSettings, name: str, estimator: Estimator[nn.Module, Tensor], longest: int
) -> Row:
    """Estimate the step that was asked for, and what fits where that was asked too."""

    @functools.cache
    def report(batch_size: int, length: int) -> MemoryReport:
        return estimator(ids(batch_size, length))

    asked = report(settings.batch_size, settings.length)
    if settings.device_memory is None:
        return Row(name, asked)
    memory = parse_memory(settings.device_memory)
    longest_sequence = largest_that_fits(
        lambda length: report(settings.batch_size, length).peak,
        memory,
        start=settings.length,
        least=2,
        most=longest,
    )
    largest_batch = largest_that_fits(
        lambda batch_size: report(batch_size, settings.length).peak,
        memory,
        start=settings.batch_size,
        least=1,
        most=LARGEST,
    )
    return Row(name, asked, Room(asked.peak <= memory, longest_sequence, largest_batch))
