"""A fake mode that builds and trains what torch's own gives up on."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch._subclasses import FakeTensor, FakeTensorMode, fake_tensor
from torch._subclasses.fake_tensor import unset_fake_temporarily

_FEW = 4096  # a model has one drop rate, or one size, for each of its layers


class ShapesOnly(FakeTensorMode):
    """Tensors with a shape, a dtype and a device, and without memory.

    `torch.unique` finds each value once, the most that it can find.
    """

    def __init__(self) -> None:
        super().__init__(allow_non_fake_inputs=True)
        self._building = False

    @contextlib.contextmanager
    def building(self) -> Iterator[None]:
        """Lets a model be made: moved and cast, filled, and read from where values are known.

        Known are the values of short sequences, such as ``torch.linspace(0, rate, depth)``, and of
        what is computed from them.
        """
        # The mode remembers tensors by weak references, and torch swaps no parameter that has one.
        converter = vars(self.fake_tensor_converter)
        converter["set_tensor_memo"] = lambda tensor, fake: None
        self._building = True
        try:
            with (
                self,
                mock.patch.object(fake_tensor, "CONSTANT_NUMEL_LIMIT", _FEW),
                # it draws until all values lie within bounds
                mock.patch.object(torch.nn.init, "_no_grad_trunc_normal_", _filled),
            ):
                yield
        finally:
            self._building = False
            del converter["set_tensor_memo"]

    def dispatch(
        self,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Runs an operation on shapes."""
        if func is torch.ops.prim.device.default:
            return args[0].device
        if func is torch.ops.aten._unique2.default:
            inverse = torch.empty_like(args[0], dtype=torch.long)
            return torch.empty_like(args[0]).flatten(), inverse, inverse.flatten()
        made: Any = super().dispatch(func, types, args, kwargs or {})
        if self._building and _is_sequence(func) and _is_small(made):
            with unset_fake_temporarily():
                made.constant = func(*args, **kwargs or {})
            self.fake_tensor_converter.add_constant_storage_mapping(made)
        return made


def _filled(tensor: Tensor, *arguments: Any, **options: Any) -> Tensor:
    return tensor


def _is_sequence(func: Any) -> bool:
    aten = torch.ops.aten
    return func.overloadpacket in (aten.arange, aten.linspace, aten.logspace)


def _is_small(made: Any) -> bool:
    return isinstance(made, FakeTensor) and made.device.type == "cpu" and made.numel() <= _FEW
