"""Attach TokenSeek to a model, and take it off again."""

from __future__ import annotations

import copy
import functools
import inspect
import types
import warnings
from typing import Any, Self

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from transformers import PreTrainedModel

from tokenseek_common import InputError
from tokenseek_core._anatomy import Anatomy
from tokenseek_core._attention import PREFIX, register
from tokenseek_core._batch import Batch
from tokenseek_core._check import self_check
from tokenseek_core._config import TokenSeekConfig
from tokenseek_core._step import StepReport, training_step


class TokenSeekNotRunWarning(UserWarning):
    """A model with TokenSeek applied trained a step densely."""


class TokenSeekHandle:
    """A model with TokenSeek applied; also a context manager that removes it.

    Args:
        model: The Hugging Face model itself, without wrappers around it.
        config: The settings, which may be replaced between steps (`handle.config = ...`).
        outer: The model with its wrappers, where it has any.

    Attributes:
        last: What the last step kept; None before the first, and after a dense one.
    """

    def __init__(
        self, model: PreTrainedModel, config: TokenSeekConfig, outer: nn.Module | None = None
    ) -> None:
        self.model = model
        self.config = config
        self.last: StepReport | None = None
        self._anatomy = Anatomy.of(model, outer or model)
        self._checked = False
        self._intended = False
        self._warned = False
        self._attached = True
        self._shared_config = model.config
        self._previous = vars(model).get("forward")
        own_config = copy.deepcopy(model.config)  # models built from one config object share it
        own_config._attn_implementation_internal = register(model.config._attn_implementation)
        _swap_config(model, model.config, own_config)
        self._notice = self._anatomy.backbone.register_forward_pre_hook(self._notice_dense)
        self._forward = types.MethodType(_forward_with(self, self._anatomy.forward), model)
        vars(model)["forward"] = self._forward

    def remove(self) -> None:
        """Restore the model as it was; a second call does nothing."""
        if not self._attached:
            return
        self._attached = False
        self._notice.remove()
        _swap_config(self.model, self.model.config, self._shared_config)
        if vars(self.model).get("forward") is self._forward:
            del vars(self.model)["forward"]
            if self._previous is not None:
                vars(self.model)["forward"] = self._previous

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.remove()

    def _call(self, *args: Any, **kwargs: Any) -> Any:
        """Stand in for the model's forward: a TokenSeek step where it trains with labels."""
        dense = self._anatomy.forward
        arguments = _bind(dense, args, kwargs)
        training = self.model.training and torch.is_grad_enabled()
        if not (self._attached and training and arguments.get("labels") is not None):
            return dense(*args, **kwargs)
        limit = self.config.dense_above
        self._intended = True
        try:
            if limit is not None and self.config.ratio >= limit:
                self.last = None
                return dense(*args, **kwargs)
            batch = Batch.of(arguments)
            if self.config.check and not self._checked:
                self_check(self._anatomy, batch)
                self._checked = True
            output, self.last = training_step(self._anatomy, batch, self.config)
            return output
        finally:
            self._intended = False

    def _notice_dense(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        """Say once, loudly, that the backbone trains outside a TokenSeek step."""
        if self._intended or self._warned or not (module.training and torch.is_grad_enabled()):
            return
        self._warned = True
        warnings.warn(
            "TokenSeek is applied, but the model trains densely: its forward was called without "
            "labels, or its backbone directly. Something between trainer and model (label "
            "smoothing, compute_loss_func, a fused head) computes the loss by itself; switch it "
            "off, or remove TokenSeek with handle.remove().",
            TokenSeekNotRunWarning,
            stacklevel=2,
        )


def apply_tokenseek(model: nn.Module, config: TokenSeekConfig | None = None) -> TokenSeekHandle:
    """Let every training step of `model` back-propagate through its important tokens only.

    Inside such a step `outputs.loss` is the loss restarted on the kept rows and `outputs.logits`
    are theirs. Evaluation, generation and steps without labels run the model as it is.

    Args:
        model: A causal language model of transformers, also inside PEFT or DDP.
        config: The settings; None takes the defaults.

    Returns:
        A handle whose `remove()` restores the model; `handle.last` tells what was kept.

    Raises:
        InputError: The model does not dispatch through transformers' attention interface, or
            TokenSeek is applied to it already.

    Example:
        >>> with apply_tokenseek(model, TokenSeekConfig(ratio=0.1)):  # doctest: +SKIP
        ...     trainer.train()
    """
    inner = unwrap(model)
    name = type(inner).__name__
    if not inner._can_set_attn_implementation():
        raise InputError(
            f"model ({name}) must dispatch through transformers' attention interface; "
            "train it without TokenSeek"
        )
    if str(inner.config._attn_implementation).startswith(PREFIX):
        raise InputError(
            f"model ({name}) must not have TokenSeek applied already; call handle.remove() first"
        )
    return TokenSeekHandle(inner, config or TokenSeekConfig(), model)


def unwrap(model: nn.Module) -> PreTrainedModel:
    """The Hugging Face model inside PEFT and DDP.

    Raises:
        InputError: There is none.
    """
    inner: Any = model
    while not isinstance(inner, PreTrainedModel):
        if isinstance(inner, DistributedDataParallel):
            inner = inner.module
        elif hasattr(inner, "get_base_model"):
            inner = inner.get_base_model()
        else:
            raise InputError(
                f"model ({type(inner).__name__}) must be a transformers model, also inside PEFT "
                "or DistributedDataParallel; pass that"
            )
    return inner


def _forward_with(handle: TokenSeekHandle, dense: Any) -> Any:
    """The forward to put in place of `dense`, with its signature, which trainers inspect."""

    @functools.wraps(dense.__func__)
    def forward(self: PreTrainedModel, *args: Any, **kwargs: Any) -> Any:
        return handle._call(*args, **kwargs)

    return forward


def _bind(dense: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Name every argument of a call."""
    signature = inspect.signature(dense)
    arguments = dict(signature.bind(*args, **kwargs).arguments)
    for parameter in signature.parameters.values():
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            arguments.update(arguments.pop(parameter.name, {}))
    return arguments


def _swap_config(model: PreTrainedModel, old: Any, new: Any) -> None:
    """Point every module that holds `old` to `new`."""
    for module in model.modules():
        if getattr(module, "config", None) is old:
            module.config = new
