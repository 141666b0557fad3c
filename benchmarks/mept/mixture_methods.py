"""What is trained on mixtures, streams and few samples, and how large it is."""

from __future__ import annotations

from dataclasses import dataclass, replace

from comparison_methods import Shape, routed
from comparison_tasks import MIXED

ROUTED = routed(5, 8, 2) | {"kind": "cosine"}


@dataclass(frozen=True)
class Tuned:
    """A way to tune, of one size.

    Args:
        label: How tables call it.
        method: As `comparison_methods.adapted` names it.
        shape: Its sizes.
        rates: Learning rates of the mixture, of which dev chooses.
        fast: Those of the mixture beside a fast head.
        alone: Those where one task is learnt at a time: what the comparison chose of three by dev
            of TREC and SST-2; of MEPT, which had other routers there, what dev chose in the
            mixture. Where that learns nothing in the stream, dev chooses between it and a second.
        fitted: What routers are fitted on: what is learnt first, or inputs of all tasks.
    """

    label: str
    method: str
    shape: Shape
    rates: tuple[float, ...]
    alone: tuple[float, ...]
    fast: tuple[float, ...] = ()
    fitted: str = "first"


PROMPT_RATES, DEEP_RATES, LORA_RATES = (5e-3, 1.5e-2), (1.5e-2, 5e-2), (4e-3, 8e-3)
MEPT = Tuned("MEPT", "mept", ROUTED, PROMPT_RATES, alone=(1.5e-2,), fast=(5e-3, 1.5e-2))
DEEP = Tuned(
    "one expert, equal stored size",
    "deep",
    {"rows": 53},
    DEEP_RATES,
    alone=(5e-2, 1.5e-2),
    fast=(5e-3, 1.5e-2, 5e-2),
)
LORA = Tuned(
    "LoRA, equal active size",
    "lora",
    {"rank": 6},
    LORA_RATES,
    alone=(3e-3,),
    fast=(1e-3, 2e-3, 4e-3, 8e-3),
)
METHODS = {
    "mept": MEPT,
    "ahead": replace(MEPT, label="MEPT, routers fitted on inputs of all tasks", fitted="all"),
    "deep": DEEP,
    "deep-active": replace(DEEP, label="one expert, equal active size", shape={"rows": 23}),
    "prefix": replace(
        DEEP, label="prefix tuning, equal active size", method="prefix", shape={"rows": 11}
    ),
    "multitask": Tuned(
        "multitask prompt tuning",
        "multitask",
        {"rows": 20, "tasks": len(MIXED)},
        (5e-2, 3e-1),
        alone=(2e-1,),
    ),
    "lora-active": LORA,
    "lora-stored": replace(LORA, label="LoRA, equal stored size", shape={"rank": 13}),
    "probe": Tuned("head alone", "probe", {}, (1e-1,), alone=(1e-1,)),
}
