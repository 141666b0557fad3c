"""What other packages find under the entry point `tokenseek_common.row_methods`."""

from __future__ import annotations

from torch import nn

from tokenseek_core._apply import TokenSeekHandle, apply_tokenseek
from tokenseek_core._config import TokenSeekConfig


def row_method(model: nn.Module, ratio: float) -> TokenSeekHandle:
    """Apply TokenSeek with the default settings; leaving the block that it opens removes it.

    Args:
        model: A causal language model of transformers, also inside PEFT.
        ratio: Share of the tokens that carry gradient, in (0, 1].

    Raises:
        InputError: The model or the ratio is none that TokenSeek can work with.
    """
    return apply_tokenseek(model, TokenSeekConfig(ratio=ratio))
