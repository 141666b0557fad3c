"""Optical flow and depth on the device: the same as on the CPU, and what a pair costs."""

from __future__ import annotations

import copy
import statistics
from typing import Any

import torch
from accelerator.devices import MIB, device, now, reserved_peak, reset_reserved
from accelerator.exactness import deviation, judged
from torch import Tensor

from promotion import LossConfig, ProMotion, ProMotionConfig, losses
from promotion.datasets import Sample
from tokenseek_common.memory import measure

DOUBLE_TOLERANCE = 1e-6
"""Of a double-precision pass, backward included."""

PIXELS = 0.05
"""How far the median pixel of a prediction in float32 may differ, of about this many that it moves.

Where an argmax flips on rounding, single pixels may differ by anything.
"""


def frames(height: int, width: int) -> tuple[Tensor, Tensor]:
    """A smooth texture, and the same moved by three pixels to the right and two down."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(1, 3, height // 8 + 2, width // 8 + 2, generator=generator)
    texture = torch.nn.functional.interpolate(
        noise, (height + 8, width + 8), mode="bicubic", align_corners=True
    ).clamp(0, 1)[0]
    first = texture[:, 4 : 4 + height, 4 : 4 + width]
    return first, texture[:, 2 : 2 + height, 1 : 1 + width]


def model_gradients(*, height: int, width: int) -> dict[str, Any]:
    """Flow, depth and gradients of a small model in float64, as shares of the CPU's."""
    torch.manual_seed(0)
    model = ProMotion(ProMotionConfig.size("nano")).double().eval()  # training adds random noise
    pair = [frame[None].double() for frame in frames(height, width)]
    expected = passed(model, pair)
    found = passed(copy.deepcopy(model).to(device()), [frame.to(device()) for frame in pair])
    figures = {name: deviation(found[name], expected[name]) for name in ("maps", "gradients")}
    return judged(figures, largest=max(figures.values()), tolerance=DOUBLE_TOLERANCE)


def passed(model: ProMotion, pair: list[Tensor]) -> dict[str, dict[str, Tensor]]:
    """What a forward and a backward pass give, on the CPU."""
    model.zero_grad()
    output = model(*pair)
    maps = {"flow": output.flows[-1], "depth": output.depths[-1]}
    torch.stack([found.square().mean() for found in maps.values()]).sum().backward()
    return {
        "maps": {name: found.detach().cpu() for name, found in maps.items()},
        "gradients": {
            name: p.grad.cpu() for name, p in model.named_parameters() if p.grad is not None
        },
    }


def prediction(*, height: int, width: int) -> dict[str, Any]:
    """Flow of the weights that the package carries, in float32, against the CPU's."""
    model = ProMotion.from_pretrained()
    first, second = frames(height, width)
    expected = model.predict(first, second).flow
    found = model.to(device()).predict(first, second).flow
    assert expected is not None
    assert found is not None
    differing = (found.cpu() - expected).abs().sum(0)
    return judged(
        {"median_pixels": float(differing.median()), "largest_pixels": float(differing.max())},
        largest=float(differing.median()),
        tolerance=PIXELS,
    )


def pair_cost(
    *, height: int, width: int, dtype: str, seconds: float = 5.0, most: int = 5
) -> dict[str, Any]:
    """Median seconds and peak memory of `predict` on one pair.

    Args:
        height: Rows of the pictures.
        width: Columns.
        dtype: What matrices are multiplied in, by autocast.
        seconds: After which no run is begun.
        most: Runs that are timed at most.
    """
    model = ProMotion.from_pretrained().to(device())
    pair = [frame.to(device()) for frame in frames(height, width)]
    kind = getattr(torch, dtype)
    times: list[float] = []
    with torch.autocast(device().type, kind, enabled=kind is not torch.float32):
        reset_reserved()
        begin = now()
        with measure(device()) as reading:
            model.predict(*pair)
        first = now() - begin
        reserved = reserved_peak()
        end = now() + seconds
        while not times or (len(times) < most and now() < end):
            begin = now()
            model.predict(*pair)
            times.append(now() - begin)
    return {
        "seconds": statistics.median(times),
        "first_seconds": first,
        "runs": len(times),
        "peak_mib": reading.report.peak / MIB,
        "peak_reserved_mib": None if reserved is None else reserved / MIB,
        "counted_by": reading.report.source,
    }


def training_pace(
    *, size: str, height: int, width: int, batch: int, seconds: float = 5.0
) -> dict[str, Any]:
    """Training steps a second: forward, losses, backward, AdamW, on a batch that is there."""
    torch.manual_seed(0)
    model = ProMotion(ProMotionConfig.size(size)).to(device()).train()  # type: ignore[arg-type]
    sample = batch_of(batch, height, width)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)

    def step() -> None:
        losses(model(sample.image1, sample.image2), sample, LossConfig()).total.backward()
        optimizer.step()
        optimizer.zero_grad()

    reset_reserved()
    step()
    with measure(device()) as reading:
        step()
    times: list[float] = []
    end = now() + seconds
    while not times or now() < end:
        begin = now()
        step()
        times.append(now() - begin)
    median = statistics.median(times)
    return {
        "seconds": median,
        "steps_per_second": 1 / median,
        "steps": len(times),
        "peak_mib": reading.report.peak / MIB,
        "counted_by": reading.report.source,
    }


def batch_of(count: int, height: int, width: int) -> Sample:
    """The same pair several times, its motion known and its depth level."""
    first, second = (
        frame.expand(count, -1, -1, -1).to(device()) for frame in frames(height, width)
    )
    everywhere = torch.ones(count, height, width, dtype=torch.bool, device=device())
    motion = first.new_tensor([3.0, 2.0])[None, :, None, None]
    return Sample(
        image1=first,
        image2=second,
        flow=motion.expand(count, -1, height, width),
        flow_valid=everywhere,
        depth=first.new_full((count, height, width), 5.0),
        depth_valid=everywhere,
    )
