"""Operations of each way to train, as shares of dense ones: the table in docs/choosing.md.

Nothing is run: they follow from the sizes of the models.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tokenseek_core import TokenSeekConfig
from tokenseek_core._instances import Instance
from tokenseek_core.inspect import Method, chunked_loss
from tokenseek_core.inspect._operations import Sizes, step_operations

PAGE = Path(__file__).parents[2] / "docs/choosing.md"
BEGIN, END = "<!-- operations: begin -->", "<!-- operations: end -->"

SHAPES = {
    "SmolLM2-135M": Sizes(30, 3_538_944, 576, 49_152 * 576),
    "Llama-3.2-1B": Sizes(16, 60_817_408, 2048, 128_256 * 2048),
    "Llama-3.1-8B": Sizes(32, 218_103_808, 4096, 128_256 * 4096),
}
LENGTHS = (512, 8192)
SUPERVISED = (1.0, 0.12)
WAYS = {
    "checkpointing, chunks": Method("", checkpointing=True, loss=chunked_loss),
    "default": Method("", TokenSeekConfig()),
    "answers": Method("", TokenSeekConfig.answers()),
}
DENSE = Method("dense")


def table() -> str:
    """The Markdown table."""
    names = [*WAYS, *(f"LoRA: {name}" for name in WAYS)]
    lines = [
        f"| shape | tokens | carry the loss | {' | '.join(names)} |",
        "|---|---|---|" + "---|" * len(names),
    ]
    for shape, sizes in SHAPES.items():
        for length in LENGTHS:
            for supervised in SUPERVISED:
                shares = [
                    share_of_dense(sizes, Instance(length, round(supervised * length)), way, lora)
                    for lora in (False, True)
                    for way in WAYS.values()
                ]
                cells = [shape, str(length), f"{100 * supervised:.0f} %", *shares]
                lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def share_of_dense(sizes: Sizes, instance: Instance, way: Method, lora: bool) -> str:
    """A way's operations as a share of those of a dense step that trains the same parameters."""
    if instance.answers == instance.length and way is WAYS["answers"]:
        return ""  # nothing is left out
    ours, dense = (
        step_operations(sizes, instance, method, adapters=lora) for method in (way, DENSE)
    )
    return f"{ours / dense:.2f}"


def with_table(text: str) -> str:
    """The page with the table between its marks."""
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    sys.stdout.write(table() + "\n")
