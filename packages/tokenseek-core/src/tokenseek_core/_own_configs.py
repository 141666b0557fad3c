"""Configs of a model's own, in which attention is dispatched to us.

Models that are built from one config object share it, so that a copy is changed.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from tokenseek_core._anatomy import Anatomy
from tokenseek_core._attention import register


@dataclass
class OwnConfig:
    """A config of one model alone, while TokenSeek is applied.

    Args:
        model: The model.
        shared: The config that its modules had.
    """

    model: PreTrainedModel
    shared: PreTrainedConfig

    def __post_init__(self) -> None:
        self.own = copy.deepcopy(self.shared)
        self.own._attn_implementation_internal = register(self.shared._attn_implementation)
        self.before = copy.deepcopy(vars(self.own))
        _swap(self.model, self.shared, self.own)

    def restore(self) -> None:
        """Give the modules their config back, with what others changed meanwhile.

        Say a trainer did, or a new vocabulary: that is to last.
        """
        own, before = vars(self.own), self.before
        changed = {n: v for n, v in own.items() if n not in before or v != before[n]}
        vars(self.shared).update(changed)
        _swap(self.model, self.own, self.shared)


def own_configs(anatomy: Anatomy) -> list[OwnConfig]:
    """Dispatch attention in the model's blocks to us; a part may have a config beside the model's.

    Raises:
        InputError: Attention is implemented in a form that hides queries, keys or masks.
    """
    inside: dict[int, Any] = {
        id(module.config): module.config
        for module in anatomy.inside
        if isinstance(getattr(module, "config", None), PreTrainedConfig)
    }
    model = anatomy.model
    configs = {id(model.config): model.config} | inside
    return [OwnConfig(model, config) for config in configs.values()]


def _swap(model: nn.Module, old: object, new: Any) -> None:
    """Point every module that holds `old` to `new`."""
    for module in model.modules():
        if getattr(module, "config", None) is old:
            module.config = new
