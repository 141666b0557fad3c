"""Whether TokenSeek can train a model that is named by a folder, a config or a hub id."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch

from tokenseek_core.models._config_source import load_config, model_type_of
from tokenseek_core.models._pretrained import quiet
from tokenseek_core.models._verdict import Verdict, judge, unknown


@dataclass(frozen=True)
class Support:
    """What was found out of a model.

    Args:
        model: What was asked of.
        model_type: What its config says that it is.
        verdict: The answer, with its reason.
    """

    model: str
    model_type: str
    verdict: Verdict

    def summary(self) -> dict[str, Any]:
        """The answer by name, for JSON."""
        return {
            "model": self.model,
            "model_type": self.model_type,
            "supported": self.verdict.answer != "no",
            **dataclasses.asdict(self.verdict),
        }


def supported(model: str, *, seed: int = 0) -> Support:
    """Say whether TokenSeek can train a model, from its config alone.

    A small random model of that config takes a step on the CPU in float32, with the self-check
    before it.

    Args:
        model: A folder, a config.json, a hub id, or smollm2 for the embedded model.
        seed: Of the small model.

    Returns:
        The answer, with its reason.

    Raises:
        InputError: There is no config that can be read.

    Example:
        >>> supported("smollm2").verdict.answer  # doctest: +SKIP
        'yes'
    """
    model_type = model_type_of(model)
    verdict = unknown(model_type)
    if verdict is None:
        config = load_config(model)
        torch.manual_seed(seed)
        with quiet():
            verdict = judge(config)
    return Support(model, model_type, verdict)
