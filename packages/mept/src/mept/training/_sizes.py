"""How many numbers the prompts of a model are, stored and used."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from torch import nn

from mept._layer import PromptedBlock
from tokenseek_common.tuning import count_parameters


@dataclass(frozen=True)
class PromptSizes:
    """Numbers of prompts, with L layers, E experts of which k are used, P rows of width d.

    Cosine routers have d + 1 numbers more in every layer, their mean and their scale.

    Args:
        trainable: All that is trained, a head too.
        stored: Of the prompts, L(EPd + Pd + Ed).
        active: Of them for one input, L(kPd + Pd + Ed).
        rows: P, in front of the tokens of every layer.
    """

    trainable: int
    stored: int
    active: int
    rows: int

    @property
    def summary(self) -> dict[str, int]:
        """The figures by name."""
        return asdict(self)


def prompt_sizes(model: nn.Module) -> PromptSizes:
    """Count the prompts that are in use in a model.

    Args:
        model: Of `get_peft_model` with a `MeptConfig`.

    Returns:
        The sizes. Without a shared expert, its Pd is not counted.

    Example:
        >>> prompt_sizes(model).rows
        10
    """
    stored = active = rows = 0
    for block in model.modules():
        if not isinstance(block, PromptedBlock) or block.active is None:
            continue
        name = block.active
        settings = block.settings[name]
        router, experts = block.mept_router[name], block.mept_experts[name]
        shared = block.mept_shared[name].numel() if settings.shared_expert else 0
        routing = router.numel()
        if settings.router == "cosine":
            routing += block.mept_router_scale[name].numel() + block.mept_router_mean[name].numel()
        stored += routing + experts.numel() + shared
        active += routing + settings.top_k * experts[0].numel() + shared
        rows = settings.num_virtual_tokens
    return PromptSizes(count_parameters(model).trainable, stored, active, rows)
