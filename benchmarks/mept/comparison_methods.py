"""The methods that are compared: what each adds to a frozen model, and how large that is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from peft import (
    LoraConfig,
    MultitaskPromptTuningConfig,
    PrefixTuningConfig,
    PromptEncoderConfig,
    PromptTuningConfig,
)
from peft import get_peft_model as add_adapter

from mept import MeptConfig

HEADS = ("classifier", "score")
"""Modules that say the class; all methods train them alike."""

HEAD_RATE = 1e-2
"""At which every method trains its head; the linear probe, which is nothing else, has its own."""

Shape = dict[str, Any]


@dataclass(frozen=True)
class Method:
    """One way to tune a model.

    Args:
        label: How tables call it.
        rates: Learning rates to choose from.
        shapes: Sizes to choose from, the first of which the rate is chosen with.
        prompts: Whether it learns prompt rows.
    """

    label: str
    rates: tuple[float, ...]
    shapes: tuple[Shape, ...] = field(default=({},))
    prompts: bool = False


def routed(rows: int, experts: int, top_k: int) -> Shape:
    """A shape of mixtures of prompt experts."""
    return {"rows": rows, "experts": experts, "top_k": top_k}


DEEP_ROWS = (20, 5, 10, 50, 100)

Tried = tuple[str, Shape, float]
"""A method, a shape and a rate that are run with seed 0, on the tasks that rates are chosen on."""

FROM_HIDDEN = {"init": "hidden"}
"""Prompts start from hidden states of the model."""


METHODS = {
    "probe": Method("linear probe", rates=(2e-2, 1e-1, 5e-1)),
    "mept": Method(
        "MEPT",
        rates=(1.5e-3, 5e-3, 1.5e-2),
        shapes=(
            routed(5, 4, 1),
            routed(2, 4, 1),
            routed(5, 8, 2),
            routed(5, 4, 4),
            routed(5, 4, 1) | {"balance": 0.1},
        ),
        prompts=True,
    ),
    "deep": Method(
        "deep prompts without routing (E = 1)",
        rates=(1.5e-2, 5e-2, 1.5e-1),
        shapes=tuple({"rows": rows} for rows in DEEP_ROWS),
        prompts=True,
    ),
    "prompt": Method("prompt tuning", (5e-2, 2e-1, 8e-1), ({"rows": 20},), prompts=True),
    "p-tuning": Method("p-tuning", (3e-4, 1e-3, 3e-3), ({"rows": 20},), prompts=True),
    "lora": Method("LoRA of equal size", (1e-3, 3e-3, 1e-2)),
    "full": Method("full tuning", (3e-5, 1e-4, 3e-4)),
}
WRITING_METHODS = {
    "mept": Method("MEPT", (3e-2, 1e-1, 3e-1), (routed(5, 4, 1) | FROM_HIDDEN,), prompts=True),
    "deep": Method(
        "deep prompts without routing (E = 1)",
        (3e-2, 1e-1, 3e-1),
        ({"rows": 5} | FROM_HIDDEN,),
        prompts=True,
    ),
    "prefix": Method("prefix tuning", (1e-2, 3e-2, 1e-1), ({"rows": 20},), prompts=True),
    "prompt": Method(
        "prompt tuning", (2e-2, 6e-2, 2e-1), ({"rows": 20, "init": "vocab"},), prompts=True
    ),
}

TRIED: tuple[Tried, ...] = (
    # Routers learn slower than experts, by a divisor: the width.
    ("mept", routed(5, 4, 1) | {"router": 384}, 5e-3),
    ("mept", routed(5, 4, 1) | {"router": 384}, 1.5e-2),
    # Nothing to choose from, but the rest as it is.
    ("mept", routed(5, 1, 1), 5e-3),
    ("mept", routed(5, 1, 1), 1.5e-2),
    ("mept", routed(5, 8, 2) | FROM_HIDDEN, 5e-3),
    ("mept", routed(5, 8, 2) | FROM_HIDDEN, 1.5e-2),
)

TRIED_WRITING: tuple[Tried, ...] = (
    ("mept", routed(5, 4, 1), 5e-4),
    ("mept", routed(5, 4, 1), 1.5e-3),
    ("mept", routed(5, 4, 1), 5e-3),
    ("mept", routed(5, 4, 1), 2e-2),
    ("mept", routed(5, 4, 1), 1e-1),
    ("mept", routed(5, 4, 1) | FROM_HIDDEN | {"router": 576}, 1e-1),
    ("prompt", {"rows": 20}, 5e-3),
    ("prompt", {"rows": 20}, 2e-2),
)


@dataclass(frozen=True)
class Sizes:
    """Numbers that a method learns, heads apart.

    Args:
        stored: All of them.
        active: Those that work on one input.
        rows: Prompt rows of a layer that has some.
    """

    stored: int
    active: int
    rows: int


def adapted(model: Any, method: str, shape: Shape, task_type: str) -> Any:
    """Freeze a model and add what a method trains.

    Args:
        model: A model of transformers, new; it is changed.
        method: A key of `METHODS` or `WRITING_METHODS`.
        shape: Its sizes; LoRA's are its rank.
        task_type: As PEFT names it.
    """
    if method == "full":
        return model
    if method == "probe":
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name.startswith(HEADS))
        return model
    rows = shape.get("rows", 0)
    configs: dict[str, Any] = {
        "mept": lambda: MeptConfig(
            num_virtual_tokens=rows,
            num_experts=shape["experts"],
            top_k=shape["top_k"],
            router=shape.get("kind", "linear"),
            aux_loss_coef=shape.get("balance", 0.0),
            init=shape.get("init", "normal"),
        ),
        "deep": lambda: MeptConfig(
            num_virtual_tokens=rows,
            num_experts=1,
            shared_expert=False,
            router="linear",
            init=shape.get("init", "normal"),
        ),
        "prompt": lambda: PromptTuningConfig(
            num_virtual_tokens=rows,
            prompt_tuning_init="SAMPLE_VOCAB" if shape.get("init") == "vocab" else "RANDOM",
        ),
        "p-tuning": lambda: PromptEncoderConfig(num_virtual_tokens=rows, encoder_hidden_size=128),
        "prefix": lambda: PrefixTuningConfig(num_virtual_tokens=rows),
        "multitask": lambda: MultitaskPromptTuningConfig(
            num_virtual_tokens=rows, num_tasks=shape["tasks"]
        ),
        "lora": lambda: LoraConfig(
            r=shape["rank"], lora_alpha=shape["rank"], target_modules=["query", "value"]
        ),
    }
    config = configs[method]()
    config.task_type = task_type
    return add_adapter(model, config)


def sizes(config: Any, method: str, shape: Shape) -> Sizes:
    """Count what a method learns in a model.

    p-tuning's encoder makes its rows once, after which they alone are needed; both its figures are
    of the rows. A router of one expert decides nothing and is not counted.

    Args:
        config: The model's.
        method: As `adapted` has it.
        shape: Its sizes.
    """
    layers, d, rows = config.num_hidden_layers, config.hidden_size, shape.get("rows", 0)
    if method == "mept":
        e, k = shape["experts"], shape["top_k"]
        routers = e if e > 1 else 0
        stored, active = ((n * rows + rows + routers) * d * layers for n in (e, k))
        return Sizes(stored, active, rows)
    if method == "lora":
        count = 4 * shape["rank"] * d * layers  # two matrices of d x d, two factors each
    elif method == "prefix":
        heads = config.num_attention_heads
        kept = getattr(config, "num_key_value_heads", heads)
        count = 2 * rows * layers * (d // heads) * kept
    elif method == "multitask":  # rows for all, and for each task their product with one of rank 1
        return Sizes(rows * d + shape["tasks"] * (rows + d), rows * d + rows + d, rows)
    elif method == "probe":
        count = 0
    else:
        count = rows * d * (layers if method == "deep" else 1)
    return Sizes(count, count, rows)


def equal_rank(config: Any, shape: Shape) -> int:
    """The rank whose LoRA learns as many numbers as a mixture stores, as nearly as can be."""
    wanted = sizes(config, "mept", shape).stored
    return max(1, round(wanted / sizes(config, "lora", {"rank": 1}).stored))
