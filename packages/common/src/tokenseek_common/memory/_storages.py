"""The storages behind a tensor: what actually takes up memory."""

from typing import Any

import torch
from torch.utils._python_dispatch import is_traceable_wrapper_subclass


def storages_of(tensor: torch.Tensor) -> list[torch.UntypedStorage]:
    """Finds the storages that a tensor keeps alive.

    Args:
        tensor: dense, sparse, or a subclass that wraps other tensors.

    Returns:
        One storage for a dense tensor or a view, one or more for the others, none for a tensor
        whose memory torch hides (a layout of some backend).

    Example:
        >>> weight = torch.ones(2, 3)
        >>> storages_of(weight.t())[0] is storages_of(weight)[0]
        True
    """
    wrapper: Any = tensor
    if is_traceable_wrapper_subclass(wrapper):
        parts = [getattr(wrapper, name) for name in wrapper.__tensor_flatten__()[0]]
        return _storages_of_all([part for part in parts if isinstance(part, torch.Tensor)])
    if tensor.layout is torch.strided:
        return [tensor.untyped_storage()]
    if tensor.layout is torch.sparse_coo:
        return _storages_of_all([tensor._indices(), tensor._values()])
    return []


def _storages_of_all(tensors: list[torch.Tensor]) -> list[torch.UntypedStorage]:
    """Concatenates the storages of several tensors."""
    return [storage for tensor in tensors for storage in storages_of(tensor)]
