"""`promotion infer` on videos of two lengths: memory that does not grow, seconds that do.

Each run is a process of its own, on one thread. The record is
benchmarks/results/promotion-flow/infer_lengths.json.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from predict_costs import frames
from records import INFER_LENGTHS, RESULTS, write

from promotion.cli import main as command_line
from promotion.io import VideoWriter

RECORD = RESULTS / "infer_lengths.json"
SIZE = 144, 192
SHIFT = 3
WAYS: dict[str, list[str]] = {
    "a video of it": [],
    "files and pictures": ["--flow", "flo", "--depth", "pfm", "--draw", "pictures"],
}


def write_video(path: Path, count: int) -> None:
    """A picture that moves to the right."""
    picture, _ = frames(*SIZE)
    with VideoWriter(path, fps=25) as writer:
        for number in range(count):
            writer.add((picture.roll(SHIFT * number, 2) * 255).round().to(torch.uint8))


def measure(video: str, output: str, options: list[str]) -> None:
    """Print peak memory and processor seconds of one run, in this process."""
    torch.set_num_threads(1)
    begin = time.process_time()
    if command_line(["infer", video, "--output", output, "--quality", "fast", "--quiet", *options]):
        raise SystemExit("the command failed")
    figures = {
        "seconds": time.process_time() - begin,
        "peak_bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
    }
    sys.stderr.write(json.dumps(figures))


def main() -> None:
    """Measure both lengths in both ways."""
    if sys.argv[1:2] == ["--one"]:
        measure(sys.argv[2], sys.argv[3], sys.argv[4:])
        return
    found: dict[str, dict[str, dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as place:
        for count in INFER_LENGTHS:
            video = Path(place) / f"{count}.mp4"
            write_video(video, count)
            for number, (way, options) in enumerate(WAYS.items()):
                output = f"{place}/{count}-{number}"
                done = subprocess.run(
                    [sys.executable, __file__, "--one", str(video), output, *options],
                    check=True,
                    stderr=subprocess.PIPE,
                    text=True,
                    env=os.environ | {"OMP_NUM_THREADS": "1"},
                )
                found.setdefault(way, {})[str(count)] = json.loads(done.stderr.splitlines()[-1])
    write(RECORD, {"size": SIZE, "runs": found, "torch": torch.__version__, "threads": 1})


if __name__ == "__main__":
    main()
