"""The demo's second part: an adapter learns short answers behind long prompts."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tokenseek_common.cli import Console
from tokenseek_core._config import TokenSeekConfig
from tokenseek_core._instances import instance_of, share_kept, supervised_share, told
from tokenseek_core.demo._material import Material, prepare_answers
from tokenseek_core.demo._training import Training, Weights, fine_tune, held_out_loss
from tokenseek_core.inspect import Method, StepCost, compare_steps, methods
from tokenseek_core.models._adapters import RANK, Adapters, has_peft, with_adapters

LEARNING_RATE = 5e-4
REPEATS = 1
RIVAL = "checkpointing + chunked head"
LOOKS = 2


@dataclass(frozen=True)
class Answers:
    """What an adapter learnt, and what its steps cost.

    Args:
        rank: Of the adapter, beside every linear layer of the blocks.
        trained_texts: Instances of all steps of a training.
        held_out_texts: Instances that the loss was tested on.
        measured_tokens: Tokens of the instance on which single steps were measured.
        measured_supervised: Those of them to be learnt.
        supervised_share: Share of all training tokens that carry the loss.
        kept: Which tokens TokenSeek keeps of them, in words.
        costs: A single step of each method; the dense one first, TokenSeek's last.
        trainings: The fine-tunings; the dense one first, TokenSeek's last.
    """

    rank: int
    trained_texts: int
    held_out_texts: int
    measured_tokens: int
    measured_supervised: int
    supervised_share: float
    kept: str
    costs: tuple[StepCost, ...]
    trainings: tuple[Training, ...]

    def summary(self) -> dict[str, Any]:
        """Every number by name, for JSON."""
        figures = {name: value for name, value in vars(self).items() if name not in _OWN}
        return figures | {
            "step_costs": [cost.summary() for cost in self.costs],
            "training": [asdict(training) for training in self.trainings],
        }


_OWN = ("costs", "trainings")


def learn_answers(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    source: str,
    positions: int,
    steps: int,
    seed: int,
    console: Console,
) -> Answers | None:
    """Train an adapter densely and through all tokens that carry the loss and a few others.

    Args:
        model: The model at its starting weights; it is left with the adapter off again.
        tokenizer: Its tokenizer.
        source: What the user called it.
        positions: How many tokens it takes.
        steps: Optimizer steps of each training, of one instance each.
        seed: Of the adapter, the order and the draws.
        console: Where notes and progress are told.

    Returns:
        Costs and losses; None where peft is not installed, or too few functions fit into the model.
    """
    material = prepare_answers(tokenizer, positions=positions, seed=seed) if has_peft() else None
    if material is None:
        return None
    config = TokenSeekConfig.answers()
    compared = [m for m in methods(config) if m.name in ("dense", RIVAL, "TokenSeek")]
    torch.manual_seed(seed)
    adapted = with_adapters(model, source, Adapters())
    try:
        adapted.train()
        console.note(f"measuring steps of an adapter on {material.measured.length} tokens")
        batch = material.collator([material.measured.example])
        on_device = {name: tensor.to(model.device) for name, tensor in batch.items()}
        costs = tuple(compare_steps(adapted, on_device, compared, repeats=REPEATS))
        trainings = _train(adapted, material, (compared[0], compared[-1]), steps, seed, console)
    finally:
        adapted.unload()
        model.requires_grad_(True)
    instances = [instance_of(lesson.example) for lesson in material.train]
    return Answers(
        rank=RANK,
        trained_texts=steps,
        held_out_texts=len(material.held_out),
        measured_tokens=material.measured.length,
        measured_supervised=material.measured.example.supervised,
        supervised_share=supervised_share(instances),
        kept=told(config, share_kept(instances, config)),
        costs=costs,
        trainings=trainings,
    )


def _train(
    adapted: Any,
    material: Material,
    methods: tuple[Method, ...],
    steps: int,
    seed: int,
    console: Console,
) -> tuple[Training, ...]:
    """The same fine-tuning of the adapter in several ways."""
    start = Weights(adapted)
    batches = material.training_batches(steps, seed=seed)
    held_out = material.held_out_batches()
    before = held_out_loss(adapted, held_out)
    trainings = []
    for method in methods:
        start.restore()
        told = f"fine-tuning an adapter, {method.name}"
        with console.progress(told, total=steps) as progress:
            trainings.append(
                fine_tune(
                    adapted,
                    method,
                    batches,
                    held_out,
                    before=before,
                    seed=seed,
                    progress=progress,
                    learning_rate=LEARNING_RATE,
                    looks=LOOKS,
                )
            )
    return tuple(trainings)
