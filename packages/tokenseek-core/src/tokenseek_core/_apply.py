"""Attach TokenSeek to a model, and take it off again."""

from __future__ import annotations

import functools
import inspect
import types
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Self

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput

from tokenseek_common import InputError
from tokenseek_core._anatomy import Anatomy
from tokenseek_core._arguments import FLAGS, LOSSES, bind
from tokenseek_core._attention import PREFIX
from tokenseek_core._batch import Batch
from tokenseek_core._check import self_check
from tokenseek_core._config import TokenSeekConfig
from tokenseek_core._cut import cut_blocks, shape_at_blocks
from tokenseek_core._forwards import FUSED, leads_to, put_back, put_by_trainer
from tokenseek_core._fused import fused_step
from tokenseek_core._left_out import Looking
from tokenseek_core._own_configs import own_configs
from tokenseek_core._rates import rate_groups
from tokenseek_core._requirements import require_applicable, require_reachable, require_steppable
from tokenseek_core._selection import kept_share
from tokenseek_core._step import StepReport, forward_losses, token_losses, training_step
from tokenseek_core._wrappers import unwrap


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
        self._anatomy = Anatomy.of(model, model if outer is None else outer)
        self._checked = False
        self._intended = False
        self._by_token = False
        self._looking = Looking()
        self._told: set[str] = set()
        self._attached = True
        self._configs = own_configs(self._anatomy)
        self._hooks = [self._anatomy.backbone.register_forward_pre_hook(self._notice_dense)]
        if not self._anatomy.by_token:
            self._hooks += cut_blocks(self._anatomy)
        self._stand_in()
        # Called before every step by trainers that put a forward over ours while they set up.
        self._train = vars(model).get("train")
        vars(model)["train"] = types.MethodType(_train_with(self, model.train), model)

    def remove(self) -> None:
        """Restore the model as it was; a second call does nothing."""
        if not self._attached:
            return
        self._attached = False
        for hook in self._hooks:
            hook.remove()
        for config in self._configs:
            config.restore()
        put_back(self.model, "train", self._train)
        if vars(self.model).get("forward") is self._forward:
            put_back(self.model, "forward", self._previous)

    def token_losses(self, **arguments: Any) -> Float[Tensor, "b s"]:
        """The loss of each token that carries one, for losses of your own; 0 elsewhere.

        A token carries the cross-entropy of the next token's label. With gradients, and the model
        in training mode, these are a step's: the gradient of whatever is made of them is that of
        :meth:`TokenSeekConfig.answers`. Without, they are those of a forward pass, whatever the
        config. No logits of more than a chunk of rows exist.

        Args:
            arguments: What the model is called with: tokens, labels, mask.

        Raises:
            InputError: The config does not keep every token that carries the loss, or the call
                cannot be a step.

        Example:
            >>> losses = handle.token_losses(input_ids=ids, labels=labels)  # doctest: +SKIP
            >>> log_probabilities = -losses.sum(1)
        """
        if not self._attached or arguments.get("labels") is None:
            raise InputError(
                "labels must be given, and TokenSeek be applied; call token_losses with labels "
                "before handle.remove()"
            )
        if self._anatomy.kind == "whole":
            raise InputError(
                f"model ({type(self.model).__name__}) must have a loss of each token, as language "
                "models have; take outputs.loss"
            )
        if not self.config.keeps_every_loss:
            raise InputError(
                f"answer_ratio, gradient ({self.config.answer_ratio}, {self.config.gradient}) must "
                "be 1 and restart, so that every loss is there; use TokenSeekConfig.answers()"
            )
        self._by_token = True
        try:
            losses: Tensor = self._anatomy.outer(**arguments).loss
        finally:
            self._by_token = False
        return losses

    def parameter_groups(
        self, *, learning_rate: float, replayed: float = 0.25, weight_decay: float = 0.0
    ) -> list[dict[str, Any]]:
        """Groups for an optimizer, in which the blocks that are replayed learn more slowly.

        Under "inject" head, final norm and the last blocks have the dense gradient, the blocks
        below that of a few rows, which is noisy: an optimizer such as AdamW, which makes steps of
        one size whatever the gradient, may want a smaller rate for these than for those. It did in
        full tuning of a small model; compare on held-out data.

        Args:
            learning_rate: Of everything but the replayed blocks; begin with that of dense training.
            replayed: Share of it that the replayed blocks learn at, in (0, 1].
            weight_decay: Of what decays: no norms, embeddings or biases.

        Returns:
            Every trainable parameter of the model in exactly one group.

        Raises:
            InputError: The config has no exact blocks, `replayed` is not in (0, 1], or nothing is
                trained.

        Example:
            >>> groups = handle.parameter_groups(learning_rate=1e-3)  # doctest: +SKIP
            >>> optimizer = torch.optim.AdamW(groups)  # doctest: +SKIP
        """
        return rate_groups(
            self._anatomy,
            self.config,
            learning_rate=learning_rate,
            replayed=replayed,
            weight_decay=weight_decay,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.remove()

    def __reduce_ex__(self, protocol: object) -> Any:
        """Refuse copies and pickles of the model: they would call the original's forward."""
        raise InputError(
            f"model ({type(self.model).__name__}) must not be copied or pickled with TokenSeek "
            "applied; call handle.remove() before, or save_pretrained"
        )

    def _stand_in(self) -> None:
        """Take the place of the forward that is on the model now."""
        dense = self.model.forward
        self._previous = vars(self.model).get("forward")
        self._anatomy = replace(self._anatomy, forward=dense)
        self._forward = types.MethodType(_forward_with(self, dense), self.model)
        vars(self.model)["forward"] = self._forward

    def _take_trainers_forward(self) -> None:
        """Let a forward that a trainer put over ours lie beneath it, as if it had come first."""
        forward = vars(self.model).get("forward")
        if self._attached and put_by_trainer(forward) and not leads_to(forward, self._forward):
            self._stand_in()

    def _call(self, *args: Any, **kwargs: Any) -> Any:
        """Stand in for the model's forward: a TokenSeek step where it trains with labels."""
        dense = self._anatomy.forward
        arguments = bind(dense, args, kwargs)
        if self._by_token:
            return self._losses_by_token(arguments)
        asked = any(name in arguments for name in LOSSES)
        if not (self._attached and torch.is_grad_enabled() and asked):
            return dense(*args, **kwargs)
        self._intended = True
        try:
            if self.config.answer_ratio is None and self._dense_at(self.config.ratio):
                self.last = None
                return dense(*args, **kwargs)
            if not self.model.training:
                return self._notice_backward(dense(*args, **kwargs))
            return self._step(arguments)
        finally:
            self._intended = False

    # Where the model is compiled, this would be so anew for every number of kept rows.
    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _step(self, arguments: dict[str, Any]) -> Any:
        """Take a TokenSeek step, if the model and its arguments allow it."""
        batch = self._batch_to_step({n: v for n, v in arguments.items() if n != FUSED})
        read = () if batch.source is None else batch.source.lengths
        if self._dense_at(kept_share(batch.instances, self.config, read)):
            self.last = None
            return self._anatomy.forward(**arguments)
        output: Any
        if arguments.get(FUSED):
            shifted = "shift_labels" in arguments
            output, self.last = fused_step(self._anatomy, batch, self.config, shifted=shifted)
        else:
            output, self.last = training_step(self._anatomy, batch, self.config)
        looked_at = self._anatomy.by_token and self.config.answer_ratio is not None
        if self.config.check and looked_at:
            told = self._looking.after(self._anatomy, batch, self.last, self.config)
            if told is not None:
                self._tell(told, UserWarning)
        return output

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _losses_by_token(self, arguments: dict[str, Any]) -> CausalLMOutput:
        """Give the loss of each token in place of that of the batch."""
        if not torch.is_grad_enabled():
            return CausalLMOutput(loss=forward_losses(self._anatomy, self._batch(arguments)))
        if not self.model.training:
            raise InputError(
                "model.training (False) must be True for losses with gradients; call "
                "model.train(), or token_losses under torch.no_grad()"
            )
        self._intended = True
        try:
            batch = self._batch_to_step(arguments)
            losses, self.last = token_losses(self._anatomy, batch, self.config)
        finally:
            self._intended = False
        return CausalLMOutput(loss=losses)

    def _batch(self, arguments: dict[str, Any]) -> Batch:
        """Sort the arguments, with those that the model takes from its config.

        Raises:
            InputError: They ask for what a pass over some rows cannot give.
        """
        own = self.model.config
        flags = {name: getattr(own, name) for name in FLAGS if hasattr(own, name)}
        anatomy = self._anatomy
        if anatomy.kind == "whole":
            shape = shape_at_blocks(anatomy, arguments)
            return Batch.whole(flags | arguments, shape, anatomy.reads)
        if not anatomy.counts_items:
            arguments = {n: v for n, v in arguments.items() if n != "num_items_in_batch"}
        if anatomy.kind == "seq2seq":
            shape = shape_at_blocks(anatomy, arguments)
            return Batch.seq2seq(flags | arguments, shape, anatomy.shift_right)
        batch = Batch.of(
            flags | arguments, shifted=anatomy.kind == "causal", by_token=anatomy.by_token
        )
        batch.require_known_sequences(own._attn_implementation)
        return batch

    def _batch_to_step(self, arguments: dict[str, Any]) -> Batch:
        """Sort the arguments, if the model and they allow a step.

        Raises:
            InputError: They do not.
        """
        batch = self._batch(arguments)
        require_steppable(self._anatomy, trainable_input=batch.trainable)
        if self.config.check and not self._checked:
            self_check(self._anatomy, batch, offload=self.config.kv_offload)
            self._checked = True
        unsupervised = batch.read is None and not batch.counts.total
        if unsupervised and batch.num_items is None:
            self._tell(
                "labels (all -100) have nothing to learn from: the loss is 0 and so are its "
                "gradients, where transformers gives NaN; leave out what has no answer, or what "
                "was cut off before it",
                UserWarning,
            )
        return batch

    def _dense_at(self, share: float) -> bool:
        """Whether a step that keeps so many of its tokens is taken densely."""
        limit = self.config.dense_above
        return limit is not None and share >= limit

    def _notice_dense(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        """Say that the backbone trains outside a TokenSeek step."""
        if self._intended or not (module.training and torch.is_grad_enabled()):
            return
        require_reachable(vars(self.model).get("forward"), self._forward)
        self._warn()

    def _notice_backward(self, output: Any) -> Any:
        """Say that a loss from evaluation is back-propagated; evaluation alone is no mistake."""
        for loss in (output[0], getattr(output, "log_probs", None)):
            if isinstance(loss, torch.Tensor) and loss.requires_grad:
                loss.register_hook(lambda _: self._warn())
        return output

    def _warn(self) -> None:
        """Say once, loudly, that the model trains densely."""
        self._tell(
            "TokenSeek is applied, but the model trains densely, since it was called without "
            "labels or in evaluation mode, or its backbone directly; switch off what computes the "
            "loss by itself (label smoothing, compute_loss_func, a fused head), call "
            "model.train(), or take TokenSeek off with handle.remove()",
            TokenSeekNotRunWarning,
        )

    def _tell(self, text: str, category: type[Warning]) -> None:
        """Warn once of each model; `warn` would tell the first model of a process only."""
        if text not in self._told:
            self._told.add(text)
            warnings.warn_explicit(text, category, __file__, lineno=0)


def apply_tokenseek(model: nn.Module, config: TokenSeekConfig | None = None) -> TokenSeekHandle:
    """Let every training step of `model` back-propagate through its important tokens only.

    Inside such a step `outputs.loss` carries the gradient that the config asks for. Of a language
    model, with "restart" it is the loss of the kept rows, and `outputs.logits` are theirs; with
    "inject" it is the dense loss, and there are no logits. A head that reads several rows (it
    pools, or finds spans) reads all of them: the loss is the dense one, and the output the model's
    own. There padding is never kept, so that keeping every token is dense training where the head
    does not read it. Evaluation, generation and steps without labels run the model as it is.

    Args:
        model: A decoder, an encoder, both, or a tower for pictures of transformers, with a head
            that makes a loss; also inside PEFT, DDP, torch.compile or Lightning's Fabric.
        config: The settings; None takes the defaults.

    Returns:
        A handle whose `remove()` restores the model; `handle.last` tells what was kept.

    Raises:
        InputError: The model does not dispatch through transformers' attention interface, is
            wrapped or sharded in another way, or has TokenSeek applied already.

    Example:
        >>> with apply_tokenseek(model, TokenSeekConfig(ratio=0.1)):  # doctest: +SKIP
        ...     trainer.train()
    """
    inner = unwrap(model)
    require_applicable(inner)
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


def _forward_with(handle: TokenSeekHandle, dense: Any) -> Any:
    """The forward to put in place of `dense`, with its signature, which trainers inspect."""

    @functools.wraps(getattr(dense, "__func__", dense))  # hooks of accelerate put functions there
    def forward(self: PreTrainedModel, *args: Any, **kwargs: Any) -> Any:
        if handle._forward.__func__ is not forward:  # another lies over it by now
            return dense(*args, **kwargs)
        return handle._call(*args, **kwargs)

    signature = inspect.signature(dense)
    parameters = [inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)]
    parameters += signature.parameters.values()
    forward.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return forward


def _train_with(handle: TokenSeekHandle, train: Callable[..., PreTrainedModel]) -> Any:
    """The `train` to put in place of the model's."""

    @functools.wraps(getattr(train, "__func__", train))
    def trained(self: PreTrainedModel, mode: bool = True) -> PreTrainedModel:
        handle._take_trainers_forward()
        return train(mode)

    return trained
