"""What the prototypes of the shipped weights stand for, on held-out scenes in which bodies move.

How evenly they are used, how often neighbouring cells agree, how far the assignments are the true
segments of one rigid motion each (adjusted Rand index, on cells), what the gates learned, and what
`predict` loses where the prototypes hand nothing back. Beside the assignments stand other ways to
the same segments, none of which takes a training, and how well rigid motion alone tells what moves
by itself. The result is a file under benchmarks/results/promotion-flow; it is measured anew when
the weights change, or with --again.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from kornia.geometry import RANSAC
from kornia.geometry.epipolar import sampson_epipolar_distance
from records import RESULTS, read, weights_hash, write
from torch import Tensor

from promotion import ProMotion
from promotion._pretrained import SHIPPED
from promotion.nn import STRIDE, PrototypeLearner
from promotion.nn._matching import grid
from promotion.scenes import Scene, SceneConfig, render_scene
from promotion.scenes._drawn import draw_scene
from promotion.scenes._planes import first_met
from promotion.training._evaluate import HELD_OUT

RESULT = RESULTS / "prototypes.json"
CONFIG = SceneConfig(height=192, width=256, rigid=0.0, stereo=0.0)
SCENES, FIRST = 24, HELD_OUT + 9000
CLUSTERS, ROUNDS = 6, 30
INLIER = 0.5
"""Pixels off an epipolar line up to which a point moves with the camera."""


def segments(seed: int) -> Int[Tensor, "h w"]:
    """0 where the world is seen, and what moves with it; else the number of the body."""
    drawn = draw_scene(CONFIG, np.random.default_rng(seed))
    x = np.arange(CONFIG.width, dtype=np.float64)[None]
    y = np.arange(CONFIG.height, dtype=np.float64)[:, None]
    met, _ = first_met(drawn.first, x, y)
    matrices, offsets = drawn.motion.matrices, drawn.motion.offsets
    own = np.array(
        [
            body if not (np.allclose(a, matrices[0]) and np.allclose(b, offsets[0])) else 0
            for body, (a, b) in enumerate(zip(matrices, offsets, strict=True))
        ]
    )
    bodies = np.array([plane.body for plane in drawn.layout.planes])
    return torch.from_numpy(own[bodies[met]])


def rand_index(first: Int[Tensor, "n"], second: Int[Tensor, "n"]) -> float:
    """How alike two partitions are: 1 where they are one, 0 where they agree by chance.

    Source:
        Hubert and Arabie, "Comparing Partitions" (1985).
    """
    counts = torch.zeros(int(first.max()) + 1, int(second.max()) + 1, dtype=torch.float64)
    counts.index_put_((first, second), torch.ones(len(first)).double(), accumulate=True)

    def pairs(sizes: Tensor) -> float:
        return float((sizes * (sizes - 1)).sum() / 2)

    rows, columns = pairs(counts.sum(1)), pairs(counts.sum(0))
    chance = rows * columns / (len(first) * (len(first) - 1) / 2)
    largest = (rows + columns) / 2
    return 1.0 if largest == chance else (pairs(counts) - chance) / (largest - chance)


def agreement(labels: Int[Tensor, "h w"]) -> float:
    """Share of neighbouring cells of one label."""
    across, down = labels[:, 1:] == labels[:, :-1], labels[1:] == labels[:-1]
    return float(torch.cat([across.flatten(), down.flatten()]).float().mean())


def clustered(points: Float[Tensor, "n d"]) -> Int[Tensor, "n"]:
    """k-means, begun at points that are far apart."""
    chosen = [int(points.norm(dim=1).argmax())]
    while len(chosen) < CLUSTERS:
        chosen.append(int(torch.cdist(points, points[chosen]).amin(1).argmax()))
    centres = points[chosen]
    for _ in range(ROUNDS):
        nearest = torch.cdist(points, centres).argmin(1)
        own = F.one_hot(nearest, CLUSTERS).to(points)
        centres = own.T @ points / own.sum(0)[:, None].clamp_min(1)
    return torch.cdist(points, centres).argmin(1)


def ways(model: ProMotion, scene: Scene, flow: Float[Tensor, "2 h w"]) -> dict[str, Tensor]:
    """Labels of cells, by how they are found."""
    learner = model.learner
    assert learner is not None
    features = before_prototypes(model, scene.image1)
    embedded = learner.project(features.flatten(2).transpose(1, 2))
    cosines = (embedded @ learner.memory().T)[0].T.unflatten(1, features.shape[-2:])  # [k, i, j]
    cells = F.avg_pool2d(flow, STRIDE)
    moved = (cells / cells.flatten(1).std(1).mean().clamp_min(1e-6)).flatten(1).T
    placed = (grid(*cells.shape[1:], like=cells) / cells.shape[-1]).flatten(1).T
    alike = F.avg_pool2d(embedded[0].T.unflatten(1, cells.shape[1:]), 5, 1, 2).flatten(1).T
    found = {"assignments": cosines.argmax(0).flatten()}
    for side in (3, 7):
        smooth = F.avg_pool2d(cosines, side, 1, side // 2, count_include_pad=False)
        found[f"cosines averaged over {side} x {side} cells"] = smooth.argmax(0).flatten()
    found["k-means of the features that prototypes see"] = clustered(alike)
    found["k-means of these, flow and place"] = clustered(torch.cat([alike, moved, placed], 1))
    found["k-means of flow and place"] = clustered(torch.cat([moved, placed], 1))
    return {name: labels.unflatten(0, cells.shape[1:]) for name, labels in found.items()}


def before_prototypes(model: ProMotion, image: Float[Tensor, "3 h w"]) -> Tensor:
    """Features as the prototypes see them."""
    assert model.learner is not None
    seen: list[Tensor] = []
    hook = model.learner.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    model.extract(image[None])
    hook.remove()
    return seen[0]


def moves_itself(flow: Float[Tensor, "2 h w"]) -> Bool[Tensor, "h w"]:
    """What is off the epipolar lines of the motion that most of the picture shares."""
    places = grid(*flow.shape[1:], like=flow)
    first, second = (each.flatten(1).T for each in (places, places + flow))
    torch.manual_seed(0)
    sampled = slice(STRIDE, None, 13)
    fit = RANSAC("fundamental", inl_th=INLIER, batch_size=1024, max_iter=4, confidence=0.999)
    matrix, _ = fit(first[sampled], second[sampled])
    off = sampson_epipolar_distance(first[None], second[None], matrix[None])[0]
    moving: Tensor = off.sqrt().unflatten(0, flow.shape[1:]) > 2 * INLIER
    return moving


def overlap(first: Bool[Tensor, "h w"], second: Bool[Tensor, "h w"]) -> float:
    """Intersection over union; 1 where there is nothing in either."""
    union = int((first | second).sum())
    return int((first & second).sum()) / union if union else 1.0


@contextmanager
def handing_nothing_back(learner: PrototypeLearner) -> Iterator[None]:
    """Without what prototypes add to the features."""
    gates = learner.gates.detach().clone()
    learner.gates.zero_()
    yield
    learner.gates.copy_(gates)


def found_flow(model: ProMotion, scene: Scene) -> Float[Tensor, "2 h w"]:
    """What `predict` finds."""
    flow = model.predict(scene.image1, scene.image2).flow
    assert flow is not None
    return flow


@torch.no_grad()
def measure(model: ProMotion) -> dict[str, object]:
    """All figures, means over the scenes."""
    assert model.learner is not None
    errors: dict[str, list[float]] = {"with prototypes": [], "handing nothing back": []}
    likeness: dict[str, list[tuple[float, float]]] = {}
    overlaps: dict[str, list[float]] = {"found flow": [], "true flow": []}
    used = torch.zeros(model.config.prototypes, dtype=torch.float64)
    for seed in range(FIRST, FIRST + SCENES):
        scene, truth = render_scene(CONFIG, seed), segments(seed)
        flow = found_flow(model, scene)
        errors["with prototypes"].append(float((flow - scene.flow).norm(dim=0).mean()))
        with handing_nothing_back(model.learner):
            off = found_flow(model, scene)
        errors["handing nothing back"].append(float((off - scene.flow).norm(dim=0).mean()))
        cells = truth[STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE]
        for name, labels in ways(model, scene, flow).items():
            index = rand_index(labels.flatten(), cells.flatten())
            likeness.setdefault(name, []).append((agreement(labels), index))
            if name == "assignments":
                used += labels.flatten().bincount(minlength=len(used))
        for name, each in (("found flow", flow), ("true flow", scene.flow)):
            overlaps[name].append(overlap(moves_itself(each), truth > 0))
    shares = (used / used.sum()).clamp_min(1e-12)
    return {
        "usage_entropy": float(-(shares * shares.log()).sum() / np.log(len(shares))),
        "gates": model.learner.gates.tolist(),
        "epe": {name: statistics.fmean(values) for name, values in errors.items()},
        "segments": {
            name: {
                "neighbours_agree": statistics.fmean(each for each, _ in values),
                "rand_index": statistics.fmean(each for _, each in values),
            }
            for name, values in likeness.items()
        },
        "moves_itself_iou": {name: statistics.fmean(each) for name, each in overlaps.items()},
    }


def main() -> None:
    """Measure, if that was not done with these weights."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--again", action="store_true", help="measure again")
    options = parser.parse_args()
    torch.set_num_threads(1)
    weights = weights_hash(SHIPPED)
    record = read(RESULT)
    if options.again or record.get("weights") != weights:
        record = measure(ProMotion.from_pretrained()) | {"scenes": SCENES, "weights": weights}
        write(RESULT, record)
    sys.stdout.write(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
