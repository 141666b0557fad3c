"""The kinds of memory that a training step holds."""

from typing import Literal

Kind = Literal[
    "parameters", "gradients", "optimizer", "activations", "temporaries", "buffers", "other"
]

KINDS: tuple[Kind, ...] = (
    "parameters",
    "gradients",
    "optimizer",
    "activations",
    "temporaries",
    "buffers",
    "other",
)

# All else is working memory: what a step needs beyond what stays from one step to the next.
LASTING_KINDS: frozenset[Kind] = frozenset({"parameters", "gradients", "optimizer"})
