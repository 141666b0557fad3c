"""The tensors and storages behind a tensor: what actually takes up memory, on this process."""

from typing import Any

import torch
from torch._subclasses import FakeTensor
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

# a ledger asks this of every tensor of every operation: the usual ones are looked at no further
_SELDOM_WRAPPERS = frozenset({torch.Tensor, torch.nn.Parameter, FakeTensor})


def dense_parts(tensor: torch.Tensor) -> list[torch.Tensor]:
    """Finds the dense tensors that a tensor is made of.

    Args:
        tensor: dense, sparse, a subclass that wraps other tensors, as sharded and quantised ones
            do, or what `torch.func` makes of any of them.

    Returns:
        The tensor itself where it is dense, one or more for the others (of a sharded one what this
        process holds), none for a tensor whose memory torch hides (a layout of some backend).

    Example:
        >>> dense_parts(torch.eye(3).to_sparse())[1]
        tensor([1., 1., 1.])
    """
    wrapper: Any = tensor
    if torch._C._functorch.is_functorch_wrapped_tensor(tensor):
        inner = [torch._C._functorch.get_unwrapped(tensor)]
    elif is_traceable_wrapper_subclass(wrapper):
        inner = [getattr(wrapper, name) for name in wrapper.__tensor_flatten__()[0]]
    elif tensor.layout is torch.sparse_coo:
        inner = [tensor._indices(), tensor._values()]
    elif tensor.layout in (torch.sparse_csr, torch.sparse_bsr):
        inner = [tensor.crow_indices(), tensor.col_indices(), tensor.values()]
    elif tensor.layout in (torch.sparse_csc, torch.sparse_bsc):
        inner = [tensor.ccol_indices(), tensor.row_indices(), tensor.values()]
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
    if type(tensor) in _SELDOM_WRAPPERS:
        try:
            return [tensor.untyped_storage()]
        except NotImplementedError:  # it is not dense after all
            pass
    return [part.untyped_storage() for part in dense_parts(tensor)]
