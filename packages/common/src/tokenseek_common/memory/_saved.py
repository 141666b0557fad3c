"""Which storages autograd keeps for the backward pass."""

import collections
import contextlib
import weakref
from collections.abc import Iterator

import torch
from torch import nn
from torch.utils.weak import WeakIdKeyDictionary

from tokenseek_common._storages import storages_of
from tokenseek_common.memory._reading import Reading
from tokenseek_common.memory._report import MemoryReport


class _Packed:
    """What autograd holds in place of a tensor; it dies when the graph lets go of the tensor."""

    def __init__(self, tensor: torch.Tensor, storages: list[torch.UntypedStorage]) -> None:
        # an output that kept its own grad_fn would keep the graph alive in a circle
        self.tensor = tensor.detach()
        # no other storage can take the identity of one that is held here
        self.storages = storages


class _SavedStorages:
    """Counts each storage once, for as long as a graph holds at least one tensor on it."""

    def __init__(self, model: nn.Module | None) -> None:
        self.live = 0
        self.peak = 0
        self.devices: set[str] = set()
        self._holders: collections.Counter[int] = collections.Counter()  # by id of the storage
        self._excluded = WeakIdKeyDictionary()
        if model is not None:
            for tensor in (*model.parameters(), *model.buffers()):
                for storage in storages_of(tensor):
                    self._excluded[storage] = True

    def pack(self, tensor: torch.Tensor) -> _Packed:
        """Counts a tensor that autograd is about to save."""
        packed = _Packed(tensor, storages_of(tensor))
        if _belongs_to_leaf(tensor):
            return packed
        for storage in packed.storages:
            if storage not in self._excluded:
                self._hold(id(storage), storage.nbytes())
                self.devices.add(str(tensor.device))
                weakref.finalize(packed, self._release, id(storage), storage.nbytes())
        return packed

    def unpack(self, packed: _Packed) -> torch.Tensor:
        """Gives autograd its tensor back."""
        return packed.tensor

    def _hold(self, key: int, size: int) -> None:
        if self._holders[key] == 0:
            self.live += size
            self.peak = max(self.peak, self.live)
        self._holders[key] += 1

    def _release(self, key: int, size: int) -> None:
        self._holders[key] -= 1
        if self._holders[key] == 0:
            del self._holders[key]
            self.live -= size


_open: list[_SavedStorages] = []


@contextlib.contextmanager
def saved_for_backward(model: nn.Module | None = None) -> Iterator[Reading]:
    """Counts the bytes that autograd keeps for the backward pass.

    Each storage counts once and whole, however many tensors and views of it are saved, and for
    as long as a graph holds it. Storages of parameters do not count, nor do those of other leaves
    that require gradients, nor views of either such as ``weight.t()``: they would live anyway.

    This is a diagnostic. It rests on `torch.autograd.graph.saved_tensors_hooks`, which do not
    stack, only the innermost pair runs. So it must not be nested, offloading hooks around it have
    no effect inside, and of a region under non-reentrant checkpointing, which brings hooks of its
    own, only what is saved outside of them is seen: the inputs of its blocks, plus whatever lies
    between. Autograd's check for in-place changes of saved tensors is off inside the block.

    Args:
        model: tells which storages are frozen parameters and buffers, so that they do not count
            either. Without it, frozen `torch.nn.Parameter` objects and their views are still
            recognised, buffers are not and count.

    Yields:
        A handle whose ``report`` is there after the block. ``peak`` is the largest number of
        saved bytes at one instant, ``live`` those held at the end: leave the block before
        ``backward()`` to see what the graph waits with.

    Raises:
        RuntimeError: If another such block is open.

    Example:
        >>> linear = torch.nn.Linear(4, 2)
        >>> with saved_for_backward(linear) as reading:
        ...     loss = linear(torch.ones(8, 4)).sum()
        >>> reading.report.live  # the input, 8 * 4 * 4 bytes
        128
    """
    if _open:
        raise RuntimeError(
            "saved_for_backward (already open) must not be nested, because only the innermost "
            "saved-tensor hooks run; leave the outer block first"
        )
    reading, storages = Reading(), _SavedStorages(model)
    _open.append(storages)
    try:
        with torch.autograd.graph.saved_tensors_hooks(storages.pack, storages.unpack):
            yield reading
    finally:
        _open.remove(storages)
        reading.finish(
            MemoryReport(
                source="storages saved for backward",
                device=", ".join(sorted(storages.devices)) or "none",
                peak=storages.peak,
                live=storages.live,
            )
        )


def _belongs_to_leaf(tensor: torch.Tensor) -> bool:
    """Returns whether a tensor is, or is a view of, a parameter or a leaf that requires grad."""
    owner = tensor if tensor._base is None else tensor._base
    return isinstance(owner, nn.Parameter) or (owner.is_leaf and owner.requires_grad)
