"""What users call, timed: `predict`, the command, DIS and raft_small, one thread each.

Every figure is of a process of its own: processor seconds of one pair, after a small one has warmed
it up (the command is timed whole, start and pictures included), and what its memory grows by at its
peak. Records under benchmarks/results/promotion-flow/predict_costs; those there are not made again.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from costs import ptlflow_raft
from records import PREDICT_CALLS, PREDICT_SIZES, RESULTS, read, write
from rivals import dis
from torch import Tensor

from promotion import ProMotion
from promotion.cli import main as command_line
from promotion.datasets import Sample
from promotion.io import write_image

CELLS = RESULTS / "predict_costs"
LARGEST_RAFT = 436 * 1024
WARM_UP = 64, 96

Call = Callable[[Tensor, Tensor], object]


def frames(height: int, width: int) -> tuple[Tensor, Tensor]:
    """A smooth random picture, and the same three pixels further on."""
    noise = torch.rand(
        1, 3, -(-height // 8), -(-width // 8), generator=torch.Generator().manual_seed(0)
    )
    picture = F.interpolate(noise, (height, width), mode="bicubic")[0].clamp(0, 1)
    return picture, picture.roll(3, 2)


def ours(quality: Literal["fast", "balanced", "best"], *, confidence: bool = False) -> Call:
    """`predict` with the shipped weights."""
    model = ProMotion.from_pretrained()
    return lambda first, second: model.predict(
        first, second, quality=quality, confidence=confidence
    )


def command(first: Tensor, second: Tensor) -> None:
    """`promotion infer` on two PNG files, pictures drawn."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [f"{folder}/{name}.png" for name in "ab"]
        for path, picture in zip(paths, (first, second), strict=True):
            write_image(path, picture)
        if command_line(["infer", *paths, "--output", f"{folder}/out", "--json"]):
            raise SystemExit("the command failed")


def of_opencv(finest: int | None) -> Call:
    """DIS, which takes grey pictures."""

    def call(first: Tensor, second: Tensor) -> Tensor:
        nothing = torch.zeros(2, *first.shape[1:])
        known = torch.zeros(first.shape[1:], dtype=torch.bool)
        return dis(Sample(first, second, nothing, known, nothing[0], known), finest=finest)

    return call


def raft() -> Call:
    """The small one of ptlflow, 12 iterations, on sides that are multiples of 8."""
    run = ptlflow_raft()
    return lambda first, second: run(padded(first), padded(second))


def padded(picture: Tensor) -> Tensor:
    """With sides that are multiples of 8, as a batch."""
    height, width = picture.shape[1:]
    return F.pad(picture[None], (0, -width % 8, 0, -height % 8), mode="replicate")


MAKERS: tuple[Callable[[], Call], ...] = (
    lambda: ours("balanced"),
    lambda: ours("fast"),
    lambda: ours("balanced", confidence=True),
    lambda: command,
    lambda: of_opencv(None),
    lambda: of_opencv(0),
    raft,
)
CALLS = dict(zip(PREDICT_CALLS, MAKERS, strict=True))


def measure(name: str, height: int, width: int) -> None:
    """Print processor seconds and grown bytes of one call, in this process."""
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    pair = frames(height, width)
    call = CALLS[name]()
    if name != "promotion infer":
        call(*frames(*WARM_UP))
    before, begin = peak(), time.process_time()
    call(*pair)
    sys.stderr.write(json.dumps({"seconds": time.process_time() - begin, "bytes": peak() - before}))


def peak() -> int:
    """Of the memory of this process so far."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main() -> None:
    """Measure what is not there yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--largest", type=int, default=10**9, help="pixels of the largest size")
    options = parser.parse_args()
    if options.one:
        name, height, width = options.one
        measure(name, int(height), int(width))
        return
    for height, width in PREDICT_SIZES:
        path = CELLS / f"{height}x{width}.json"
        for name in CALLS:
            found = read(path)
            too_large = height * width > (LARGEST_RAFT if name == "raft_small" else options.largest)
            if name in found or too_large:
                continue
            run = [sys.executable, __file__, "--one", name, str(height), str(width)]
            done = subprocess.run(run, check=True, stderr=subprocess.PIPE, text=True)
            figures = json.loads(done.stderr.splitlines()[-1])
            write(path, found | {name: figures, "torch": torch.__version__, "threads": 1})
            sys.stdout.write(f"{path.stem}, {name}: {figures}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
