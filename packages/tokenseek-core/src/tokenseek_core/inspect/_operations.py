"""Floating-point operations of a training step, from the sizes of a model."""

from __future__ import annotations

from dataclasses import dataclass

from transformers import PreTrainedConfig

from tokenseek_core._anatomy import Anatomy
from tokenseek_core._instances import Instance, share_kept, trains_densely
from tokenseek_core.inspect._compare import Method
from tokenseek_core.models._shrunken import hollow_model


@dataclass(frozen=True)
class Sizes:
    """What the operations of a step follow from.

    Args:
        layers: Blocks.
        block_weights: Weights of a block that each token is multiplied with.
        width: Numbers of all queries of a token in a block.
        head_weights: Weights of the head.
    """

    layers: int
    block_weights: float
    width: int
    head_weights: int

    @classmethod
    def of(cls, config: PreTrainedConfig) -> Sizes:
        """The sizes of the causal language model of a config.

        Raises:
            InputError: It is no decoder with a head.
        """
        model = hollow_model(config)
        blocks = Anatomy.of(model, model).blocks
        chosen = getattr(config, "num_experts_per_tok", None) or 1
        weights = 0.0
        for parameter in blocks.parameters():
            if parameter.ndim == 3:  # [experts, ...], of which a token passes few
                weights += parameter.numel() * chosen / parameter.shape[0]
            elif parameter.ndim == 2:
                weights += parameter.numel()
        heads = config.num_attention_heads
        head_size = getattr(config, "head_dim", None) or config.hidden_size // heads
        table = model.get_output_embeddings()
        assert table is not None
        return cls(
            layers=len(blocks),
            block_weights=weights / len(blocks),
            width=heads * head_size,
            head_weights=sum(p.numel() for p in table.parameters() if p.ndim == 2),
        )


def step_operations(
    sizes: Sizes, instance: Instance, method: Method, *, adapters: bool = False
) -> float:
    """Operations of forward and backward over one instance.

    With P, A and H as :func:`tokenseek_core._step.training_step` has them, which states what its
    own steps cost, a dense step costs L (3 P + 3.5 A) + 3 H, H over all rows; with the head in
    chunks 4 H, of the rows that have a target; and checkpointing adds the forward pass of what is
    replayed. Frozen weights, beside adapters, need no gradient: going back then costs P and not
    2 P, and the head, which is made once, 2 H.

    Args:
        sizes: Of the model.
        instance: Tokens, and those that carry the loss.
        method: How the step runs.
        adapters: Whether adapters are trained in place of the weights; they themselves count as
            nothing.
    """
    block = 2 * instance.length * sizes.block_weights
    attention = 4 * instance.length**2 * sizes.width
    head = 2 * instance.length * sizes.head_weights
    targets = 2 * instance.answers * sizes.head_weights
    back = 1 if adapters else 2
    forward = block + attention
    both = (1 + back) * block + 3.5 * attention + (forward if method.checkpointing else 0)
    config = method.config
    through: float
    if config is None or trains_densely(share_kept([instance], config), config):
        made_again = 0 if adapters else 1
        through = (1 + back) * head if method.loss is None else (1 + back + made_again) * targets
        return sizes.layers * both + through
    kept = share_kept([instance], config)
    record = sizes.layers * forward
    again = 2 if adapters else 4
    if config.gradient == "inject":
        exact = (3 + back) * block + 7 * attention
        replayed = (sizes.layers - config.exact_blocks) * kept * both
        return record + replayed + config.exact_blocks * exact + again * targets
    scores = block + 3 * attention + 2 * targets if config.selector != "random" else 0.0
    answers = config.ratio if config.answer_ratio is None else config.answer_ratio
    through = (1 + back if config.logits else again) * answers * targets
    return record + sizes.layers * kept * both + scores + through
