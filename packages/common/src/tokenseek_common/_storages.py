"""The tensors and storages behind a tensor: what actually takes up memory, on this process."""

from typing import Any

import torch
from torch.utils._python_dispatch import is_traceable_wrapper_subclass


def dense_parts(tensor: torch.Tensor) -> list[torch.Tensor]:
    """Finds the dense tensors that a tensor is made of.

    Args:
        tensor: dense, sparse, or a subclass that wraps other tensors, as sharded and quantised
            ones do.

    Returns:
        The tensor itself where it is dense, one or more for the others (of a sharded one what this
        process holds), none for a tensor whose memory torch hides (a layout of some backend).

    Example:
        >>> dense_parts(torch.eye(3).to_sparse())[1]
        tensor([1., 1., 1.])
    """
    wrapper: Any = tensor
    if is_traceable_wrapper_subclass(wrapper):
        inner = [getattr(wrapper, name) for name in wrapper.__tensor_flatten__()[0]]
    elif tensor.layout is torch.sparse_coo:
        inner = [tensor._indices(), tensor._values()]
    else:
        return [tensor] if tensor.layout is torch.strided else []
    return [part for each in inner if isinstance(each, torch.Tensor) for part in dense_parts(each)]


def storages_of(tensor: torch.Tensor) -> list[torch.UntypedStorage]:
    """Finds the storages that a tensor keeps alive.

    Args:
        tensor: as `dense_parts` takes it.

    Returns:
        One storage for a dense tensor or a view, one or more for the others, none for a tensor
        whose memory torch hides.

    Example:
        >>> weight = torch.ones(2, 3)
        >>> storages_of(weight.t())[0] is storages_of(weight)[0]
        True
    """
    return [part.untyped_storage() for part in dense_parts(tensor)]
