"""Our figures of flow against ptlflow's, image by image; a difference ends with exit code 1."""

from __future__ import annotations

import sys

import torch
from ptlflow.utils.flow_metrics import FlowMetrics

from promotion.metrics import flow_metrics

IMAGES = 20
TOLERANCE = 1e-4
"""Of a share or of the error itself, relative: ptlflow sums in float32."""


def differences(seed: int) -> dict[str, float]:
    """How far the two are apart on a random image with a mask and occlusions."""
    generator = torch.Generator().manual_seed(seed)
    target = 40 * torch.randn(2, 30, 40, generator=generator)
    predicted = target + 6 * torch.randn(2, 30, 40, generator=generator) * torch.rand(
        30, 40, generator=generator
    )
    valid = torch.rand(30, 40, generator=generator) < 0.7
    occlusion = torch.rand(30, 40, generator=generator) < 0.2
    ours = flow_metrics(predicted, target, valid, occlusion)
    peer = FlowMetrics()
    peer.update(
        {"flows": predicted[None]},
        {
            "flows": target[None],
            "valids": valid[None, None].float(),
            "occs": occlusion[None, None].float(),
        },
    )
    theirs = {name.strip("/"): float(value) for name, value in peer.compute().items()}
    pairs = {
        "epe": (ours.epe, theirs["epe"]),
        "px1": (1 - ours.outliers_1px, theirs["px1"]),
        "px3": (1 - ours.outliers_3px, theirs["px3"]),
        "px5": (1 - ours.outliers_5px, theirs["px5"]),
        "flall": (100 * ours.fl_all, theirs["flall"]),
        "epe_occ": (ours.epe_occluded, theirs["epe_occ"]),
        "epe_non_occ": (ours.epe_visible, theirs["epe_non_occ"]),
    }
    return {
        name: abs(own - other) / max(1.0, abs(other))
        for name, (own, other) in pairs.items()
        if own is not None
    }


def main() -> int:
    """Compare; 1 if a figure differs."""
    worst: dict[str, float] = {}
    for seed in range(IMAGES):
        for name, difference in differences(seed).items():
            worst[name] = max(difference, worst.get(name, 0.0))
    for name, difference in worst.items():
        sys.stdout.write(f"{name}: at most {difference:.1e} apart\n")
    return 0 if max(worst.values()) < TOLERANCE else 1


if __name__ == "__main__":
    sys.exit(main())
