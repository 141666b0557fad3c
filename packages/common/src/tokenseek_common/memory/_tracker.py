"""The accounting of one training step: every storage has a kind and an owner."""

import collections
from collections.abc import Iterable, Mapping, MutableMapping
from typing import Any

import torch
from torch import nn
from torch._guards import active_fake_mode
from torch.distributed._tools.mem_tracker import (
    MemTracker,
    _MemRefType,
    _RefType,
    _UpdateType,
    _WeakRefInfo,
)
from torch.optim.optimizer import (
    Optimizer,
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)
from torch.utils._pytree import tree_leaves
from torch.utils.hooks import RemovableHandle
from torch.utils.weak import WeakIdKeyDictionary

from tokenseek_common._storages import storages_of
from tokenseek_common.memory._kinds import LASTING_KINDS
from tokenseek_common.memory._module_stack import OUTSIDE, ModuleStack
from tokenseek_common.memory._peak import Held, Peak

_KIND_NAMES: Mapping[_RefType, str] = {
    _MemRefType.PARAM: "parameters",
    _MemRefType.GRAD: "gradients",
    _MemRefType.OPT: "optimizer",
    _MemRefType.ACT: "activations",
    _MemRefType.TEMP: "temporaries",
    _MemRefType.BUFFER: "buffers",
    _MemRefType.OTH: "other",
}


class _Holding(_WeakRefInfo):
    """One storage's size, kind and owner."""

    owner = OUTSIDE


class StepTracker(MemTracker):
    """`MemTracker` for any step that trains any part of a model.

    What differs from torch's:

    - Parameters may be frozen: only those that require gradients are watched.
    - Modules may run any number of times, with or without gradients, recomputed or not: no
      statistics of single calls are kept, instead each storage counts to one module.
    - The largest working memory is taken beside the largest total.
    - What operations read but did not make, such as the batch, counts from its first use.
    - A gradient counts as one when it has landed in ``.grad``, and temporaries of an optimizer's
      step are not its state.

    Args:
        model: its parameters, gradients and buffers are known by name.
        optimizers: those whose state exists already.
        device: storages on other devices do not count.
    """

    _mod_tracker: ModuleStack

    def __init__(
        self, model: nn.Module, optimizers: Iterable[Optimizer], device: torch.device
    ) -> None:
        super().__init__()
        self._mod_tracker = ModuleStack(model)
        self._model = model
        self._device = device
        self._fake_mode = active_fake_mode()
        self._parameter_owners: MutableMapping[torch.Tensor, str] = WeakIdKeyDictionary()
        # the handle of each hook, and whether the parameter had hooks of its own
        self._gradient_hooks: MutableMapping[Any, tuple[RemovableHandle, bool]] = (
            WeakIdKeyDictionary()
        )
        self._in_first_step = False

        # on a defaultdict `+=` calls no Python function: garbage that is collected in between
        # enters `_update_snap` again, and its update must not be lost
        self._held: Held = collections.defaultdict(int)
        self.total = 0
        self._working = 0
        self.peak = Peak(0, {})
        self.working_peak = Peak(0, {})

        self._label_model()
        for optimizer in optimizers:
            self._label_optimizer(optimizer)
        self.total_before = self.total
        self.peak = Peak(self.total, self._held)
        self.working_peak = Peak(self._working, self._held)

    @property
    def is_fake(self) -> bool:
        """Whether storages are only pretended, by a fake mode around the block."""
        return self._fake_mode is not None

    def __enter__(self) -> "StepTracker":
        super().__enter__()
        self._watch_gradients()
        return self

    def __exit__(self, *args: Any) -> None:
        super().__exit__(*args)
        if self._depth == 0:
            # weak references in these close a circle that keeps the model alive, and torch
            # refuses to swap a parameter that anything refers to weakly
            self._WINFO.clear()
            self._parameter_owners.clear()

    # What the model and the optimizers hold

    def _label_model(self) -> None:
        """Gives a kind and an owner to all that the model holds now."""
        for owner, module in self._model.named_modules():
            for parameter in module.parameters(recurse=False):
                self._label_parameter(parameter, owner)
            for buffer in module.buffers(recurse=False):
                self._assign(buffer, _MemRefType.BUFFER, owner)

    def _label_optimizer(self, optimizer: Optimizer) -> None:
        """Gives a kind and an owner to all that an optimizer holds now."""
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                self._label_parameter(parameter, OUTSIDE)
        for parameter, state in optimizer.state.items():
            owner = self._parameter_owners.get(parameter, OUTSIDE)
            for value in tree_leaves(state):
                if isinstance(value, torch.Tensor):
                    self._assign(value, _MemRefType.OPT, owner)

    def _label_parameter(self, parameter: torch.Tensor, owner: str) -> None:
        # a tied parameter stays with the module that was named first
        owner = self._parameter_owners.setdefault(parameter, owner)
        self._assign(parameter, _MemRefType.PARAM, owner)
        if parameter.grad is not None:
            self._assign(parameter.grad, _MemRefType.GRAD, owner)

    def _assign(self, tensor: torch.Tensor, kind: _RefType, owner: str) -> None:
        """Puts a tensor's storages under a kind and an owner, wherever they were before."""
        for storage in storages_of(tensor):
            holding = self._holding(storage)
            if holding is None:
                self._add(storage, tensor.device, kind, owner)
            elif (holding.reftype, holding.owner) != (kind, owner):
                self._update_snap(_UpdateType.DEL, holding)
                holding.reftype, holding.owner = kind, owner
                self._update_snap(_UpdateType.ADD, holding)

    # When to look again

    def _pre_fw_hook(self, module: nn.Module, inputs: Any) -> None:
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
            self._assign(parameter.grad, _MemRefType.GRAD, owner)

    def _register_global_optimizer_hook(self) -> None:
        def before_step(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
            self._label_optimizer(optimizer)
            self._in_first_step = not optimizer.state
            self._in_opt = True

        def after_step(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
            self._label_optimizer(optimizer)
            self._in_opt = False

        self._optimizer_hook_handles = (
            register_optimizer_step_pre_hook(before_step),
            register_optimizer_step_post_hook(after_step),
        )

    def _deregister_param_and_optimizer_hooks(self) -> None:
        super()._deregister_param_and_optimizer_hooks()
        for parameter, (handle, had_hooks) in self._gradient_hooks.items():
            handle.remove()
            if not had_hooks and not parameter._post_accumulate_grad_hooks:
                # without its last hook it keeps an empty dict, where there was none
                parameter._post_accumulate_grad_hooks = None
        self._gradient_hooks.clear()

    # What operations read and make

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        # a fake mode of somebody's own, inside the block, computes shapes and holds no memory
        if active_fake_mode() is not self._fake_mode:
            return func(*args, **kwargs or {})
        for value in tree_leaves((args, kwargs)):
            if isinstance(value, torch.Tensor):
                for storage in storages_of(value):
                    if self._holding(storage) is None:
                        self._add(storage, value.device, _MemRefType.OTH, OUTSIDE)
        dispatch: Any = super().__torch_dispatch__  # torch leaves it untyped
        return dispatch(func, types, args, kwargs)

    def _track(self, reftype: _RefType, t: torch.Tensor) -> None:
        """Counts a tensor that an operation returned."""
        for storage in storages_of(t):
            holding = self._holding(storage)
            if holding is None:
                self._add(storage, t.device, self._kind_of_new(), self._mod_tracker.owner)
            elif holding.size != storage.size():
                before = holding.mem_consumed
                holding.update_mem_consumed(storage)
                self._update_snap(_UpdateType.SIZE, holding, old_mem_consumed=before)

    def _kind_of_new(self) -> _RefType:
        """Returns the kind of what is made now."""
        if self._mod_tracker.in_forward:
            return _MemRefType.ACT
        if self._in_opt:
            # state and temporaries can't be told apart while the state is being made
            return _MemRefType.OPT if self._in_first_step else _MemRefType.TEMP
        # the engine computes gradients with gradients off, and recomputes with gradients on
        return _MemRefType.ACT if torch.is_grad_enabled() else _MemRefType.TEMP

    # The books

    def _holding(self, storage: torch.UntypedStorage) -> _Holding | None:
        holdings: MutableMapping[torch.UntypedStorage, tuple[_Holding, Any]] = self._WINFO
        known = holdings.get(storage)
        return known and known[0]

    def _add(
        self, storage: torch.UntypedStorage, device: torch.device, kind: _RefType, owner: str
    ) -> None:
        holding, reference = _Holding.create_winfo(storage, device, kind, self._delete_callback)
        holding.owner = owner
        self._WINFO[storage] = (holding, reference)
        self._update_snap(_UpdateType.ADD, holding)

    def _update_snap(
        self,
        u_type: _UpdateType,
        winfo: _WeakRefInfo,
        old_mem_consumed: int | None = None,
        old_reftype: _RefType | None = None,
    ) -> None:
        """Enters one change into the books; every change comes through here."""
        if winfo.device != self._device:
            return
        assert isinstance(winfo, _Holding)
        change = winfo.mem_consumed
        if u_type is _UpdateType.DEL:
            change = -change
        elif u_type is _UpdateType.SIZE and old_mem_consumed is not None:
            change -= old_mem_consumed
        kind = _KIND_NAMES[winfo.reftype]
        self._held[winfo.owner, kind] += change
        self.total += change
        if kind not in LASTING_KINDS:
            self._working += change
        self.peak.offer(self.total, self._held)
        self.working_peak.offer(self._working, self._held)
