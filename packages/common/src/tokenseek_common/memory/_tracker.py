"""The accounting of one training step: every storage has a kind and an owner."""

import contextlib
import dataclasses
import functools
import os
import weakref
from collections.abc import Iterable, Iterator, MutableMapping
from typing import Any
from unittest import mock

import torch
from torch import nn
from torch._subclasses import FakeTensor
from torch.optim.optimizer import (
    Optimizer,
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.hooks import RemovableHandle
from torch.utils.weak import WeakIdKeyDictionary

from tokenseek_common._storages import storages_of
from tokenseek_common.memory._books import Books
from tokenseek_common.memory._kernels import KernelMemory
from tokenseek_common.memory._kinds import Kind
from tokenseek_common.memory._module_stack import OUTSIDE, ModuleStack
from tokenseek_common.memory._timeline import TimelineRecorder

# torch/c10: kMinBlockSize of the caching allocator of CUDA
_CUDA_BLOCK = 1 if os.environ.get("PYTORCH_NO_CUDA_MEMORY_CACHING", "0") != "0" else 512


@dataclasses.dataclass(slots=True)
class _Holding:
    """One storage in the books."""

    kind: Kind
    owner: str
    device: torch.device
    size: int


class StepTracker(TorchDispatchMode):
    """Sees every operation of a step, and enters what it makes into the books.

    - Parameters may be frozen: only those that require gradients are watched.
    - Modules may run any number of times, with or without gradients, recomputed or not: each
      storage counts to one module.
    - What operations read but did not make, such as the batch, counts from its first use.
    - A gradient counts as one when it has landed in ``.grad``, and temporaries of an optimizer's
      step are not its state.

    Args:
        model: its parameters, gradients and buffers are known by name.
        optimizers: those whose state exists already.
        device: storages on other devices do not count.
        timeline: whether every change is remembered.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizers: Iterable[Optimizer],
        device: torch.device,
        *,
        timeline: bool = False,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch leaves it without types
        self.books = Books()
        self._stack = ModuleStack(model)
        self._model = model
        self._device = device
        self._fake_mode = _fake_mode()
        self.kernels = KernelMemory(observed=device.type == "cpu" and not self.is_fake)
        # both by the address of the storage
        self._holdings: dict[int, _Holding] = {}
        self._references: dict[int, weakref.ref[torch.UntypedStorage]] = {}
        self._parameter_owners: MutableMapping[torch.Tensor, str] = WeakIdKeyDictionary()
        # the handle of each hook, and whether the parameter had hooks of its own
        self._gradient_hooks: MutableMapping[Any, tuple[RemovableHandle, bool]] = (
            WeakIdKeyDictionary()
        )
        self._in_optimizer = self._in_first_step = False

        self._label_model()
        for optimizer in optimizers:
            self._label_optimizer(optimizer)
        self.total_before = self.books.total
        self.recorder = TimelineRecorder(lambda: self.phase) if timeline else None
        self.books.recorder = self.recorder
        self.books.open()

    @property
    def is_fake(self) -> bool:
        """Whether storages are only pretended, by a fake mode around the block."""
        return self._fake_mode is not None

    @property
    def phase(self) -> str | None:
        """What the step does now: ``forward``, ``backward`` or ``optimizer``; None in between."""
        if self._in_optimizer:
            return "optimizer"
        if self._stack.in_backward:
            return "backward"
        return "forward" if self._stack.in_forward else None

    def __enter__(self) -> "StepTracker":
        with contextlib.ExitStack() as entered:
            for hook in (
                register_optimizer_step_pre_hook(self._before_optimizer),
                register_optimizer_step_post_hook(self._after_optimizer),
            ):
                entered.callback(hook.remove)
            entered.callback(self._unwatch_gradients)
            self._watch_gradients()
            entered.enter_context(self._stack.following(self._look_again))
            entered.enter_context(self._watching_resize())
            self._entered = entered.pop_all()
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *exception: Any) -> None:
        super().__exit__(*exception)  # type: ignore[no-untyped-call]
        self._entered.close()
        self.books.settle()
        self.books.recorder = None
        # these close circles; and torch refuses to swap a parameter that has a weak reference
        self._holdings.clear()
        self._references.clear()
        self._parameter_owners.clear()

    # What the model and the optimizers hold

    def _label_model(self) -> None:
        """Gives a kind and an owner to all that the model holds now."""
        for owner, module in self._model.named_modules():
            for parameter in module.parameters(recurse=False):
                if not _is_stand_in(parameter):
                    self._label_parameter(parameter, owner)
            for buffer in module.buffers(recurse=False):
                self._assign(buffer, "buffers", owner)

    def _label_optimizer(self, optimizer: Optimizer) -> None:
        """Gives a kind and an owner to all that an optimizer holds now."""
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                self._label_parameter(parameter, OUTSIDE)
        for parameter, state in optimizer.state.items():
            owner = self._parameter_owners.get(parameter, OUTSIDE)
            for value in tree_leaves(state):
                if isinstance(value, torch.Tensor):
                    self._assign(value, "optimizer", owner)

    def _label_parameter(self, parameter: torch.Tensor, owner: str) -> None:
        # a tied parameter stays with the module that was named first
        owner = self._parameter_owners.setdefault(parameter, owner)
        self._assign(parameter, "parameters", owner)
        if parameter.grad is not None:
            self._assign(parameter.grad, "gradients", owner)

    def _assign(self, tensor: torch.Tensor, kind: Kind, owner: str) -> None:
        """Puts a tensor's storages under a kind and an owner, wherever they were before."""
        for storage in storages_of(tensor):
            holding = self._holdings.get(storage._cdata)
            if holding is None:
                self._add(storage, tensor.device, kind, owner)
            elif (holding.kind, holding.owner) != (kind, owner):
                before = holding.owner, holding.kind
                holding.owner, holding.kind = owner, kind
                if holding.size and holding.device == self._device:
                    self.books.move(before, (owner, kind), holding.size)

    # When to look again

    def _look_again(self) -> None:
        """Looks for parameters and buffers that were replaced since; runs at outermost calls."""
        self._label_model()
        self._watch_gradients()

    def _watch_gradients(self) -> None:
        """Hooks the parameters that require gradients and are not hooked yet."""
        for parameter in list(self._parameter_owners):
            if parameter.requires_grad and parameter not in self._gradient_hooks:
                had_hooks = parameter._post_accumulate_grad_hooks is not None
                watched: Any = parameter  # torch leaves its hooks untyped
                handle = watched.register_post_accumulate_grad_hook(self._on_gradient)
                self._gradient_hooks[parameter] = (handle, had_hooks)

    def _on_gradient(self, parameter: torch.Tensor) -> None:
        # a hook before this one may have used the gradient up already
        if parameter.grad is not None:
            owner = self._parameter_owners.get(parameter, OUTSIDE)
            self._assign(parameter.grad, "gradients", owner)

    def _unwatch_gradients(self) -> None:
        for parameter, (handle, had_hooks) in self._gradient_hooks.items():
            handle.remove()
            if not had_hooks and not parameter._post_accumulate_grad_hooks:
                # without its last hook it keeps an empty dict, where there was none
                parameter._post_accumulate_grad_hooks = None
        self._gradient_hooks.clear()

    def _before_optimizer(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        self._label_optimizer(optimizer)
        self._in_first_step = not optimizer.state
        self._in_optimizer = True

    def _after_optimizer(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        self._label_optimizer(optimizer)
        self._in_optimizer = False

    @contextlib.contextmanager
    def _watching_resize(self) -> Iterator[None]:
        """Sees `resize_` of storages, which is no operation that a dispatch mode would see."""
        resize = torch.UntypedStorage.resize_

        @functools.wraps(resize)
        def resize_and_tell(storage: torch.UntypedStorage, size: int) -> Any:
            result = resize(storage, size)
            if (holding := self._holdings.get(storage._cdata)) is not None:
                self._resized(holding, storage)
            return result

        with mock.patch.object(torch.UntypedStorage, "resize_", resize_and_tell):
            yield

    # What operations read and make

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func is torch.ops.prim.device.default:
            return args[0].device  # autograd asks it of every fake tensor, and it makes nothing
        if any(_wraps_others(type_) for type_ in types):
            return NotImplemented  # the wrapper comes first, then what it does to its parts
        # a fake mode of somebody's own, inside the block, computes shapes and holds no memory
        if _fake_mode() is not self._fake_mode:
            return func(*args, **kwargs or {})
        for tensor in _tensors(args, kwargs):
            for storage in storages_of(tensor):
                if storage._cdata not in self._holdings:
                    self._add(storage, tensor.device, "other", OUTSIDE)
        with self.kernels.observe(self.books):
            results = func(*args, **kwargs or {})
        for tensor in _tensors(results):
            for storage in storages_of(tensor):
                self._see(storage, tensor.device)
        return results

    def _see(self, storage: torch.UntypedStorage, device: torch.device) -> None:
        """Counts the storage of a tensor that an operation returned."""
        holding = self._holdings.get(storage._cdata)
        if holding is None:
            self._add(storage, device, self._kind_of_new(), self._stack.owner)
        else:
            self._resized(holding, storage)

    def _kind_of_new(self) -> Kind:
        """Returns the kind of what is made now."""
        if self._stack.in_forward:
            return "activations"
        if self._in_optimizer:
            # state and temporaries can't be told apart while the state is being made
            return "optimizer" if self._in_first_step else "temporaries"
        # the engine computes gradients with gradients off, and recomputes with gradients on
        return "activations" if torch.is_grad_enabled() else "temporaries"

    # The books

    def _add(
        self, storage: torch.UntypedStorage, device: torch.device, kind: Kind, owner: str
    ) -> None:
        key, holding = storage._cdata, _Holding(kind, owner, device, _size(storage, device))

        def forget(reference: object) -> None:
            del self._holdings[key], self._references[key]
            self._enter(holding, -holding.size)

        self._references[key] = weakref.ref(storage, forget)
        self._holdings[key] = holding
        self._enter(holding, holding.size)

    def _resized(self, holding: _Holding, storage: torch.UntypedStorage) -> None:
        """Counts what a known storage has gained or lost."""
        size = _size(storage, holding.device)
        if size != holding.size:
            change, holding.size = size - holding.size, size
            self._enter(holding, change)

    def _enter(self, holding: _Holding, change: int) -> None:
        """Enters one change into the books; every change comes through here."""
        if change and holding.device == self._device:
            self.books.change(holding.owner, holding.kind, change)


def _fake_mode() -> Any:
    """Returns the fake mode that is active, or None."""
    return torch._C._get_dispatch_mode(torch._C._TorchDispatchModeKey.FAKE)


def _tensors(*trees: Any) -> Iterable[torch.Tensor]:
    """Yields the tensors in arguments or results, which are seldom nested."""
    for tree in trees:
        if isinstance(tree, torch.Tensor):
            yield tree
        elif isinstance(tree, tuple | list):
            yield from _tensors(*tree)
        elif isinstance(tree, dict):
            yield from _tensors(*tree.values())


@functools.cache
def _wraps_others(type_: type) -> bool:
    """Whether tensors of a type hold others, and take operations apart into operations on them."""
    return type_ is not FakeTensor and hasattr(type_, "__tensor_flatten__")


def _is_stand_in(parameter: torch.Tensor) -> bool:
    """Whether `torch.func` has put a tensor of its own into the place of a parameter."""
    functional: bool = torch._C._functorch.is_functorch_wrapped_tensor(parameter)
    return functional


def _size(storage: torch.UntypedStorage, device: torch.device) -> int:
    """Returns the bytes that the allocator gives out for a storage."""
    size: int = storage.nbytes()
    return -(-size // _CUDA_BLOCK) * _CUDA_BLOCK if device.type == "cuda" else size
