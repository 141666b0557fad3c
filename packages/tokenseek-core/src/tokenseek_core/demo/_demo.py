"""The same short fine-tuning in three ways, and a step of each measured."""

from __future__ import annotations

import time

import torch
from transformers import PreTrainedModel

from tokenseek_common.cli import Console, resolve_device, resolve_dtype
from tokenseek_core._apply import apply_tokenseek
from tokenseek_core.demo._answers import learn_answers
from tokenseek_core.demo._material import MOST_TOKENS, Material, prepare
from tokenseek_core.demo._passage import seek
from tokenseek_core.demo._result import DemoResult, Lessons, Setup
from tokenseek_core.demo._settings import DemoSettings
from tokenseek_core.demo._training import REPEATS, Training, Weights, fine_tune, held_out_loss
from tokenseek_core.inspect import Method, StepCost, compare_steps, methods
from tokenseek_core.models._embedded import check_source
from tokenseek_core.models._pretrained import load_pretrained


def demo(settings: DemoSettings, *, console: Console | None = None) -> DemoResult:
    """Fine-tune a small model dense, checkpointed and through the kept tokens.

    All three start from the same weights and take the same steps on docstrings of Python's
    standard library, without any network. A single step of each is measured before. Then an
    adapter learns what functions do from their source, densely and with all tokens kept that carry
    the loss. With the embedded model it takes minutes on a CPU.

    Args:
        settings: Which model, and how.
        console: Where notes and progress are told; None tells nothing.

    Returns:
        Costs, losses and one text as TokenSeek sees it; `write_report` makes a page of them.

    Raises:
        InputError: The model cannot be loaded, or trained by TokenSeek.
        RunError: A loss was not finite.

    Example:
        >>> result = demo(DemoSettings(steps=4))  # doctest: +SKIP
        >>> write_report(result, Path("shown"))  # doctest: +SKIP
    """
    begin = time.perf_counter()
    console = Console(quiet=True) if console is None else console
    check_source(settings.model)
    device = resolve_device(settings.device)
    torch.manual_seed(settings.seed)
    console.note(f"loading {settings.model}")
    model, tokenizer = load_pretrained(
        settings.model, device=device, dtype=resolve_dtype(settings.dtype, device)
    )
    apply_tokenseek(model, settings.config).remove()  # refuses a model before minutes of work
    positions = getattr(model.config, "max_position_embeddings", MOST_TOKENS)
    material = prepare(tokenizer, positions=positions, seed=settings.seed)

    start = Weights(model)
    costs = _measure(settings, model, material, console)
    trainings = _train(settings, model, start, material, console)
    passage = seek(model, tokenizer, material.held_out[-1], material.collator, settings.config)
    answers = None
    if settings.answers:
        start.restore()
        answers = learn_answers(
            model,
            tokenizer,
            source=settings.model,
            positions=positions,
            steps=-(-settings.steps // 2),  # longer ones
            seed=settings.seed,
            console=console,
        )
    batches = material.training_batches(settings.steps, seed=settings.seed)
    return DemoResult(
        setup=Setup.of(settings.model, model, settings.seed),
        lessons=Lessons.of(material, batches),
        config=settings.config,
        costs=costs,
        trainings=trainings,
        passage=passage,
        answers=answers,
        seconds=time.perf_counter() - begin,
    )


def _measure(
    settings: DemoSettings, model: PreTrainedModel, material: Material, console: Console
) -> tuple[StepCost, ...]:
    """One step of each method on a text of realistic length."""
    length = material.measured.length
    console.note(f"measuring dense, checkpointed and TokenSeek steps on {length} tokens")
    batch = material.collator([material.measured.example])
    on_device = {name: tensor.to(model.device) for name, tensor in batch.items()}
    compared = _compared(settings)
    return tuple(compare_steps(model.train(), on_device, compared, repeats=REPEATS))


def _compared(settings: DemoSettings) -> list[Method]:
    """Those with the loss of the model itself; the first three are trained."""
    return [method for method in methods(settings.config) if method.loss is None]


def _train(
    settings: DemoSettings,
    model: PreTrainedModel,
    start: Weights,
    material: Material,
    console: Console,
) -> tuple[Training, ...]:
    """The same fine-tuning in three ways; the model is left as TokenSeek trained it."""
    batches = material.training_batches(settings.steps, seed=settings.seed)
    held_out = material.held_out_batches()
    before = held_out_loss(model, held_out)
    trainings = []
    for method in _compared(settings)[:3]:
        start.restore()
        with console.progress(f"fine-tuning, {method.name}", total=settings.steps) as progress:
            trainings.append(
                fine_tune(
                    model,
                    method,
                    batches,
                    held_out,
                    before=before,
                    seed=settings.seed,
                    progress=progress,
                )
            )
    return tuple(trainings)
