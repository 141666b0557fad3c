"""What a step asks of a device, counted without one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

NO_KERNEL = {"detach", "alias", "_unsafe_view", "promote_types"}
NO_READ = {"embedding", "empty_like", "zeros_like"}  # of a whole table


@dataclass
class Counted:
    """Calls that compute something, their floating-point operations, and reads of a table."""

    calls: float = 0
    operations: float = 0
    reads: float = 0

    def extrapolated(self, other: Counted, layers: int) -> Counted:
        """What a deeper model asks for, of ours and one with a layer more."""
        return Counted(
            *(
                mine + layers * (theirs - mine)
                for mine, theirs in zip(vars(self).values(), vars(other).values(), strict=True)
            )
        )


class Counting(TorchDispatchMode):
    """Count, while it is entered.

    Args:
        table: The tensor whose reads are counted, in tables: half of it is half a read.
    """

    def __init__(self, table: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.counted = Counted()
        self._storage = table.untyped_storage()._cdata
        self._size = table.numel()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if func.namespace != "aten" or func.is_view or name in NO_KERNEL:
            return output
        self.counted.calls += 1
        if name not in NO_READ and not (isinstance(output, Tensor) and output.numel() == 0):
            self.counted.reads += sum(self._share(argument) for argument in args)
        if func._overloadpacket in flop_registry:
            formula = flop_registry[func._overloadpacket]
            self.counted.operations += formula(*args, **(kwargs or {}), out_val=output)
        return output

    def _share(self, argument: object) -> float:
        """How much of the table an argument is."""
        if not isinstance(argument, Tensor) or argument.untyped_storage()._cdata != self._storage:
            return 0
        return argument.numel() / self._size


class Waiting(TorchDispatchMode):
    """Fail where the host would read what a device computed.

    What is drawn on the host may be read there: seeds.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._on_host: set[int] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        name = func.overloadpacket.__name__
        reads = name in {"nonzero", "_unique2", "unique_dim", "masked_select", "equal"}
        if name == "_local_scalar_dense":
            reads = id(args[0]) not in self._on_host
        if name in {"index", "index_put_", "index_put", "_index_put_impl_"}:
            reads = any(index is not None and index.dtype == torch.bool for index in args[1])
        if str(func) == "aten.repeat_interleave.Tensor":
            reads = (kwargs or {}).get("output_size") is None
        assert not reads, f"a device would be waited for in {func}"
        output = func(*args, **(kwargs or {}))
        if name == "randint":
            self._on_host.add(id(output))
        return output
