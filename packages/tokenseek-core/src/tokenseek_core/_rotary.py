"""Rotary frequencies that follow a batch's length, held still while rows of it are replayed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from torch import nn

from tokenseek_core._anatomy import replaced


@contextmanager
def still_frequencies(backbone: nn.Module) -> Iterator[None]:
    """Keep the frequencies that the last pass over all rows has set.

    With the types "dynamic" and "longrope" a module sets them anew in each forward, by the largest
    position it sees; kept rows may all be early ones.
    """
    with ExitStack() as stack:
        for module in backbone.modules():
            kinds = vars(module).get("rope_type")
            if isinstance(kinds, dict):  # one for each type of layer
                still: object = {layers: _still(kind) for layers, kind in kinds.items()}
            elif isinstance(kinds, str):
                still = _still(kinds)
            else:
                continue
            if still != kinds:
                stack.enter_context(replaced(module, "rope_type", still))
        yield


def _still(kind: str) -> str:
    return "default" if "dynamic" in kind or kind == "longrope" else kind
