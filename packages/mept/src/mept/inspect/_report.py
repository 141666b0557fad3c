"""All that a record tells of the routing, gathered once.

Shapes: `l` layers with prompts, `s` samples, `e` experts, `g` groups.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mept._recording import RoutingRecord
from mept.inspect._information import entropy, evenness, mutual_information
from mept.inspect._load import dead_experts, expert_load, group_load, load_variation
from mept.inspect._overlap import ACTIVE_SHARE, active_units, unit_overlap
from mept.inspect._paths import Path, count_paths, count_transitions, expert_paths
from mept.inspect._projection import principal_components
from mept.inspect._separability import centroid_accuracy, silhouette
from tokenseek_common import InputError


@dataclass(frozen=True)
class RoutingReport:
    """What the routers of a model did with samples in groups, such as tasks.

    Args:
        layers: The indices of the layers with prompts.
        sizes: The names of the groups, in order, and how many samples each has.
        groups: The group of each sample, by its place in `sizes`.
        load: The share of the choices that fell on each expert.
        group_load: The same, of the samples of each group.
        load_entropy: Of the load, in nats.
        load_evenness: The same over its highest value, from 0 to 1.
        load_variation: The coefficient of variation of the load.
        router_entropy: Of a sample's probabilities, in nats, averaged over samples.
        router_evenness: The same over its highest value, from 0 to 1.
        dead: The experts of each layer that no sample was given.
        mutual_information: What the expert of a sample tells of its group, in nats.
        paths: The experts that samples passed, layer by layer, and how many did, the most first.
        transitions: How many samples of each group went from each expert to each of the next layer.
        overlap: How far two groups activate the same units of the feed-forward.
        silhouette: How far apart the groups lie in what the routers see; nan of one group.
        centroid_accuracy: How often the nearest centroid is that of the own group; nan of one.
        projection: What the routers see of each sample, on its two principal components.
        explained: The shares of the variance along these.
    """

    layers: tuple[int, ...]
    sizes: dict[str, int]
    groups: Int[Tensor, " s"]
    load: Float[Tensor, "l e"]
    group_load: Float[Tensor, "g l e"]
    load_entropy: Float[Tensor, " l"]
    load_evenness: Float[Tensor, " l"]
    load_variation: Float[Tensor, " l"]
    router_entropy: Float[Tensor, " l"]
    router_evenness: Float[Tensor, " l"]
    dead: list[tuple[int, ...]]
    mutual_information: Float[Tensor, " l"]
    paths: dict[Path, int]
    transitions: Int[Tensor, "g l-1 e e"]
    overlap: Float[Tensor, "l g g"]
    silhouette: Float[Tensor, " l"]
    centroid_accuracy: Float[Tensor, " l"]
    projection: Float[Tensor, "l s 2"]
    explained: Float[Tensor, "l 2"]

    @property
    def summary(self) -> dict[str, Any]:
        """All of it by name, for JSON: what is not defined is None."""
        names = list(self.sizes)
        by_layer = ("load", *_FIGURES, "projection", "explained")
        layers = [
            {
                "layer": layer,
                **{name: _plain(getattr(self, name)[place]) for name in by_layer},
                "dead": list(self.dead[place]),
                "group_load": dict(zip(names, _plain(self.group_load[:, place]), strict=True)),
                "overlap": {
                    name: dict(zip(names, _plain(row), strict=True))
                    for name, row in zip(names, self.overlap[place], strict=True)
                },
            }
            for place, layer in enumerate(self.layers)
        ]
        paths = [{"path": list(path), "samples": count} for path, count in self.paths.items()]
        transitions = dict(zip(names, _plain(self.transitions), strict=True))
        return {
            "samples": self.sizes,
            "groups": [names[group] for group in self.groups.tolist()],
            "layers": layers,
            "paths": paths,
            "transitions": transitions,
        }


_FIGURES = (
    *("load_entropy", "load_evenness", "load_variation", "router_entropy", "router_evenness"),
    *("mutual_information", "silhouette", "centroid_accuracy"),
)
"""Those that are one number a layer."""


def routing_report(record: RoutingRecord, *, active_share: float = ACTIVE_SHARE) -> RoutingReport:
    """Gather what a record tells.

    Args:
        record: Of `mept.record_routing`, with the groups that are compared, in alphabetical order.
        active_share: Which part of a layer's units are called active for a sample.

    Raises:
        InputError: The record is empty, or the share is none.

    Example:
        >>> routing_report(record).mutual_information
        tensor([0.0213, 0.3305, 0.6931], dtype=torch.float64)
    """
    if not 0 < active_share < 1:
        raise InputError(
            f"active_share ({active_share}) must be above 0 and below 1; {ACTIVE_SHARE} is usual"
        )
    probabilities, chosen, pooled = record.probabilities, record.chosen, record.pooled
    experts = probabilities.shape[-1]
    names = sorted(set(record.groups))
    groups = torch.tensor([names.index(name) for name in record.groups])
    sizes = groups.bincount()
    load, loads = expert_load(chosen, experts), group_load(chosen, groups, experts)
    paths = expert_paths(chosen)
    transitions = [count_transitions(paths[groups == g], experts) for g in range(len(names))]
    projected = [principal_components(states) for states in pooled]
    return RoutingReport(
        layers=record.layers,
        sizes=dict(zip(names, sizes.tolist(), strict=True)),
        groups=groups,
        load=load,
        group_load=loads,
        load_entropy=entropy(load),
        load_evenness=evenness(load),
        load_variation=load_variation(load),
        router_entropy=entropy(probabilities).mean(1),
        router_evenness=evenness(probabilities).mean(1),
        dead=dead_experts(load),
        mutual_information=mutual_information(loads, sizes.double()),
        paths=count_paths(paths),
        transitions=torch.stack(transitions),
        overlap=unit_overlap(active_units(record.activations, active_share), groups),
        silhouette=torch.tensor([silhouette(states, groups) for states in pooled]),
        centroid_accuracy=torch.tensor([centroid_accuracy(states, groups) for states in pooled]),
        projection=torch.stack([coordinates for coordinates, _ in projected]),
        explained=torch.stack([shares for _, shares in projected]),
    )


def _plain(tensor: Tensor) -> Any:
    """Numbers in lists; what is not defined is None."""

    def defined(value: Any) -> Any:
        if isinstance(value, list):
            return [defined(each) for each in value]
        return None if math.isnan(value) else value

    return defined(tensor.tolist())
