"""Buffers by the name of an adapter, as `nn.ParameterDict` has parameters."""

from __future__ import annotations

from collections.abc import KeysView

from torch import Tensor, nn


class Buffers(nn.Module):
    """Tensors that are saved and moved with a model, and not trained."""

    def __getitem__(self, name: str) -> Tensor:
        return self.get_buffer(name)

    def __setitem__(self, name: str, value: Tensor) -> None:
        self.register_buffer(name, value)

    def __delitem__(self, name: str) -> None:
        del self._buffers[name]

    def __contains__(self, name: str) -> bool:
        return name in self._buffers

    def keys(self) -> KeysView[str]:
        """The names."""
        return self._buffers.keys()
