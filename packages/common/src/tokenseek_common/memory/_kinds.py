"""The kinds of memory that a training step holds."""

KINDS = (
    "parameters",
    "gradients",
    "optimizer",
    "activations",
    "temporaries",
    "buffers",
    "other",
)

# All else is working memory: what a step needs beyond what stays from one step to the next.
LASTING_KINDS = frozenset({"parameters", "gradients", "optimizer"})
