"""What a selector may look at: cheap by-products of pass one, the dearer ones computed on demand.

Shapes: `b` batch, `s` sequence, `p` rows that an adapter put in front of it, `d` hidden size,
`e` the same or what OPT projects it to.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.autograd.graph import get_gradient_edge

from tokenseek_common import InputError
from tokenseek_core._head import Head, RowLosses
from tokenseek_core._scores import gradient_magnitude
from tokenseek_core._sequences import Sequences


@dataclass
class Signals:
    """The evidence about each token of a batch.

    Args:
        input_ids: Tokens, [b, s]; None where the model was called with embeddings.
        labels: Labels as the model was given them, not shifted, [b, s].
        targets: Target of each row, the next token's label; -100 has none, [b, s].
        valid: Tokens that are not padding, [b, s].
        block_input: z, input of the last block (under "inject", of the first exact one), with the
            graph of what comes after it; None where no selector's backward was foreseen, [b, p + s,
            d].
        final: Final hidden states that were computed from `block_input`, [b, s, e]; emptied once
            the adjoint is known, unless `retain`.
        received: I1 where the last block attends, [b, s]; read `context`.
        head: The way from final hidden states to losses.
        prepended: Rows in front of the tokens, p.
        retain: Whether the graph is needed again once the adjoint is known.
        loss: The model's own loss of `final`, where its head reads all rows; then no row has a loss
            of its own.
        source: The same of the tokens that an encoder reads in front of the model's decoder.
        sequences: The instances, where rows hold several of them.
    """

    input_ids: Int[Tensor, "b s"] | None
    labels: Int[Tensor, "b s"]
    targets: Int[Tensor, "b s"]
    valid: Bool[Tensor, "b s"]
    block_input: Float[Tensor, "b p_s d"] | None
    final: Float[Tensor, "b s e"]
    received: Float[Tensor, "b s"] | None
    head: Head
    prepended: int = 0
    retain: bool = False
    loss: Float[Tensor, ""] | None = None
    source: SourceSignals | None = None
    sequences: Sequences | None = None

    def by_instance(
        self,
        function: Callable[[Float[Tensor, "n l"], Bool[Tensor, "n l"]], Tensor],
        of_tokens: Float[Tensor, "b s"],
    ) -> Tensor:
        """Apply a function of an instance's tokens, a row each, and of which of them are real."""
        if self.sequences is None:
            return function(of_tokens, self.valid)
        apart = function(self.sequences.apart(of_tokens), self.sequences.valid)
        return self.sequences.together(apart)

    @property
    def context(self) -> Float[Tensor, "b s"]:
        """I1, attention that each token receives in the last block (Eq. 3).

        Raises:
            InputError: The last block has no attention that we see.
        """
        if self.received is None:
            name = type(self.head.anatomy.model).__name__
            raise InputError(f'model ({name}) must attend in its last block; use selector="random"')
        return self.received.to(self.valid.device)

    @cached_property
    def gradient(self) -> Float[Tensor, "b s"]:
        """I2, the magnitude of the loss's adjoint at `block_input` (Eq. 4)."""
        return gradient_magnitude(self.adjoint)

    @cached_property
    def token_loss(self) -> Float[Tensor, "b s"]:
        """Cross-entropy of each row's target, 0 where it has none.

        Raises:
            InputError: The model's head reads all rows at once.
        """
        if self.loss is not None:
            name = type(self.head.anatomy.model).__name__
            raise InputError(
                f"model ({name}) must have a loss of each token, as language models have; "
                'use selector="gradient"'
            )
        if self.retain or "through_head" in vars(self):
            return self.through_head.losses
        return self.head.losses(self.final)

    @property
    def adjoint(self) -> Float[Tensor, "b s d"]:
        """G, gradient of the summed loss by the tokens of `block_input`."""
        return self.adjoint_of_rows[:, self.prepended :]

    @property
    def adjoint_of_rows(self) -> Float[Tensor, "b p_s d"]:
        """Gradient of the summed loss by all of `block_input`."""
        return self.adjoints[0]

    @cached_property
    def adjoints(self) -> tuple[Tensor, ...]:
        """Gradients of the summed loss by `block_input`, and by what an encoder made.

        A partial backward through head, final norm and last block; no parameter gets a gradient.
        """
        assert self.block_input is not None
        inputs = [self.block_input]
        if self.source is not None:
            assert self.source.block_input is not None
            inputs.append(self.source.block_input)
        if self.loss is None:
            adjoint, end = self.through_head.adjoint, get_gradient_edge(self.final)
        else:
            adjoint, end = torch.ones_like(self.loss), get_gradient_edge(self.loss)
        if not self.retain:  # nobody reads it again, and the graph hangs on its end
            self.final = self.final.new_empty((0, 0, 0))
        pulled = self.head.anatomy.pull_back_to(inputs, end, adjoint, retain=self.retain)
        return tuple(part.to(self.valid.device) for part in pulled)

    @property
    def state(self) -> Float[Tensor, "b s d"]:
        """z, the tokens of `block_input` without its graph."""
        assert self.block_input is not None
        return self.block_input.detach()[:, self.prepended :].to(self.valid.device)

    @cached_property
    def through_head(self) -> RowLosses:
        """Loss of each row, and the adjoint of their sum at the final hidden states."""
        return self.head.row_losses(self.final)


@dataclass
class SourceSignals(Signals):
    """The evidence about each token that an encoder reads, in front of a decoder.

    What is said of a block's input is said of what the encoder made of all tokens, as the decoder's
    last blocks read it; I1 is the attention that a token receives from the decoder's last block.
    None of them has a label.

    Args:
        decoder: The evidence about the decoder's tokens, which waits for this.
    """

    decoder: Signals | None = None

    @cached_property
    def adjoints(self) -> tuple[Tensor, ...]:
        """Gradient of the summed loss by what the encoder made, through the last blocks alone."""
        assert self.decoder is not None
        return self.decoder.adjoints[1:]

    @cached_property
    def token_loss(self) -> Float[Tensor, "b s"]:
        """Refuse: no token has one.

        Raises:
            InputError: Always.
        """
        name = type(self.head.anatomy.model).__name__
        raise InputError(
            f"model ({name}) must have a loss of each token, but its encoder's have none; "
            'use selector="gradient"'
        )
