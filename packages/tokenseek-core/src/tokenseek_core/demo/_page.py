"""`report.html`: what a demo found, for people."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from io import BytesIO

from tokenseek_common.memory import format_bytes, plot_timeline
from tokenseek_core import _report as report
from tokenseek_core.demo._answers import Answers
from tokenseek_core.demo._findings import caveat, findings, same_losses
from tokenseek_core.demo._material import BATCH_SIZE
from tokenseek_core.demo._passage import Passage, Token
from tokenseek_core.demo._result import DemoResult
from tokenseek_core.demo._training import CLIP, LEARNING_RATE, REPEATS, Training
from tokenseek_core.inspect import StepCost

_KINDS = ("parameters", "optimizer", "gradients", "activations", "temporaries")
Y_LABEL = "held-out loss (nats per token)"
_COLOURS = {
    "dense": 0,
    "checkpointing": 1,
    "checkpointing + chunked head": 1,  # never beside the other one
    "TokenSeek": 2,
    "TokenSeek + checkpointing": 3,
}


def demo_page(result: DemoResult) -> str:
    """The whole page, which needs nothing but itself."""
    setup = result.setup
    return report.page(
        "TokenSeek side by side",
        f"{setup.name} · {setup.weights} · {_where(result)}",
        _overview(result),
        _memory(result),
        _learning(result),
        _seen(result.passage, result),
        _answers(result.answers),
        _conditions(result),
    )


def _overview(result: DemoResult) -> str:
    """The figures that are to be seen first, and what follows from them."""
    dense, seek = result.costs[0], result.costs[2]
    trained, sought = result.trainings[0], result.trainings[-1]
    return report.section(
        f"A step through {result.config.ratio:.0%} of the tokens, compared with a dense one",
        report.tiles(
            [
                report.Tile(
                    f"{seek.saved_bytes / dense.saved_bytes:.0%}",
                    "saved for backward",
                    f"{_size(seek.saved_bytes)}, dense {_size(dense.saved_bytes)}",
                ),
                report.Tile(
                    f"{seek.working_bytes / dense.working_bytes:.0%}",
                    "working memory",
                    f"{_size(seek.working_bytes)}, dense {_size(dense.working_bytes)}",
                ),
                report.Tile(
                    f"{seek.seconds / dense.seconds:.0%}",
                    "time of a step",
                    f"{seek.seconds:.2f} s, dense {dense.seconds:.2f} s",
                ),
                report.Tile(
                    f"{sought.after.loss:.3f}",
                    f"held-out loss after {result.steps} steps",
                    f"from {sought.before.loss:.3f}, dense {trained.after.loss:.3f}",
                ),
            ]
        ),
        report.paragraph(" ".join(findings(result))),
        report.paragraph(caveat(result), small=True),
    )


def _memory(result: DemoResult) -> str:
    """What one step holds and takes."""
    lessons, last = result.lessons, result.costs[-1]
    return report.section(
        "Memory and time of one step",
        report.paragraph(
            f"Each method ran the same full fine-tuning step on one text of "
            f"{lessons.measured_tokens} tokens, of which {lessons.measured_supervised} are learnt. "
            "The percentages are of the dense step."
        ),
        _cost_bars("Saved for backward", result.costs, lambda c: c.saved_bytes, _size),
        report.paragraph(
            "Saved for backward is what autograd keeps from the forward pass until the backward "
            f"pass has used it, parameters left out. {last.method} keeps "
            f"{format_bytes(last.kept_bytes)} of recorded keys and values beside it.",
            small=True,
        ),
        _cost_bars("Working memory", result.costs, lambda c: c.working_bytes, _size),
        report.paragraph(
            "Working memory is the most that is held at any instant of the step beyond parameters, "
            "gradients and optimizer state.",
            small=True,
        ),
        _cost_bars("Time of the step", result.costs, lambda c: c.seconds, _seconds),
        _peak_bars(result.costs),
        report.paragraph(
            "The fullest instant of the whole step, with AdamW's state: full fine-tuning in "
            f"{result.setup.dtype} holds parameters and optimizer state whatever the method.",
            small=True,
        ),
        *_course(result.costs[0], result.costs[2]),
    )


def _course(*costs: StepCost) -> Iterator[str]:
    """The memory of steps from their begin to their end, on one scale."""
    if find_spec("matplotlib") is None:
        yield report.paragraph(
            "With matplotlib (extra plot of tokenseek-core) this page also draws what a step "
            "holds from its begin to its end.",
            small=True,
        )
        return
    top = max(cost.memory.peak for cost in costs)
    for cost in costs:
        drawn = BytesIO()
        plot_timeline(cost.memory, drawn, top=top)
        yield report.paragraph(f"What the {cost.method} step holds, from its begin to its end:")
        yield report.picture(
            drawn.getvalue(), f"memory of the {cost.method} step over time, by kind"
        )


def _learning(result: DemoResult) -> str:
    """Held-out loss, against steps and against seconds."""
    lessons = result.lessons
    return report.section(
        "Learning",
        report.paragraph(
            f"Every method started from the same weights and took the same {result.steps} AdamW "
            f"steps of {BATCH_SIZE} texts each, in the same order. The loss is tested on "
            f"{lessons.held_out_texts} texts of modules that none of them trained on, through all "
            "tokens, whatever the method."
        ),
        *_learnt(result.trainings),
        report.paragraph(
            f"{same_losses(*result.trainings[:2])} Times are of the steps alone, without the "
            "tests between them; processor time is the sum over threads, and the steadier figure "
            "where other programs run.",
            small=True,
        ),
    )


def _learnt(trainings: Sequence[Training]) -> Iterator[str]:
    """Held-out losses against steps and against seconds, as curves and as a table."""
    by_step, by_second = (
        [
            report.Curve(
                training.method,
                [(getattr(point, across), point.loss) for point in training.curve],
                _COLOURS[training.method],
                dashed=training.method == "checkpointing",
            )
            for training in trainings
        ]
        for across in ("step", "seconds")
    )
    yield report.legend(by_step)
    yield report.side_by_side(
        report.curves("Against steps", "steps", Y_LABEL, by_step),
        report.curves("Against time", "seconds of training", Y_LABEL, by_second),
    )
    yield _losses(trainings)


def _losses(trainings: Sequence[Training]) -> str:
    """Losses and times of trainings, as a table."""
    return report.facts_table(
        f"Held-out loss before and after {trainings[0].after.step} steps",
        ["method", "loss before", "loss after", "training time", "processor time"],
        [
            [
                training.method,
                f"{training.before.loss:.3f}",
                f"{training.after.loss:.3f}",
                f"{training.after.seconds:.1f} s",
                f"{training.after.cpu_seconds:.1f} s",
            ]
            for training in trainings
        ],
    )


def _answers(answers: Answers | None) -> str:
    """What an adapter learnt of short answers behind long prompts."""
    if answers is None:
        return report.section(
            "Answers behind prompts",
            report.paragraph(
                "This part was left out, peft (extra peft of tokenseek-core) is not installed, or "
                "the model takes too few tokens for the sources of functions."
            ),
        )
    return report.section(
        "Answers behind prompts",
        report.paragraph(
            "Where only an answer behind a prompt is learnt, what to keep is known beforehand: all "
            "tokens that carry the loss, and some of the prompt. An adapter of rank "
            f"{answers.rank} learnt to say what functions of the standard library do from their "
            f"source: {answers.supervised_share:.0%} of the tokens carry the loss. Here TokenSeek "
            f"{answers.kept}, at random. That is what tokenseek finetune does by itself with such "
            "data, and what would be advised for it."
        ),
        _cost_bars("Working memory", answers.costs, lambda c: c.working_bytes, _size),
        _cost_bars("Time of the step", answers.costs, lambda c: c.seconds, _seconds),
        report.paragraph(
            f"One step on {answers.measured_tokens} tokens, of which {answers.measured_supervised} "
            "are learnt.",
            small=True,
        ),
        *_learnt(answers.trainings),
        report.paragraph(
            f"{answers.trained_texts} steps of one text each, tested on {answers.held_out_texts} "
            "functions of modules that none of them trained on: one run of one seed.",
            small=True,
        ),
    )


def _seen(passage: Passage, result: DemoResult) -> str:
    """One text, coloured by what was kept."""
    order = sorted((token.score for token in passage.tokens if token.kept), reverse=True)
    drawn = {"random": "at random", "sampled": "by a draw that prefers large gradients"}
    length, how = len(passage.tokens), drawn.get(str(result.config.selector), "by importance")
    return report.section(
        "What was kept of one text",
        report.paragraph(
            f"The answer to “{passage.asked}”, which no method trained on, in a step of the model "
            f"as TokenSeek has fine-tuned it: {passage.kept} of {length} tokens were kept, chosen "
            f"{how}. {passage.supervised_share:.0%} of the kept tokens predict a token of the "
            "answer, so that they have a loss of their own; the others carry gradient through what "
            "attends to them."
        ),
        report.shaded_text(
            f"The tokens of {passage.asked}",
            [_shade(token, order) for token in passage.tokens],
            [
                ("strong", "kept, highest score"),
                ("weak", "kept, lowest score"),
                ("plain", "answer, not kept"),
                ("faint", "prompt"),
            ],
        ),
        report.paragraph("A pointer over a token shows its score.", small=True),
    )


def _conditions(result: DemoResult) -> str:
    """How it was run, in full."""
    setup, lessons, config = result.setup, result.lessons, result.config
    versions = ", ".join(f"{name} {version}" for name, version in setup.versions.items())
    return report.section(
        "How this was run",
        report.definitions(
            [
                ("model", f"{setup.name}, {setup.weights}"),
                ("parameters", f"{setup.parameters:,}, all of them trained"),
                ("computed on", _where(result)),
                ("versions", versions),
                ("seed", f"{setup.seed}"),
                (
                    "TokenSeek",
                    f"ratio {config.ratio:g}, selector {config.selector}, "
                    f"gradient {config.gradient}",
                ),
                (
                    "training",
                    f"{result.steps} steps of {BATCH_SIZE} texts for each method, AdamW, learning "
                    f"rate {LEARNING_RATE:g}, gradients clipped to norm {CLIP:g}; together "
                    f"{lessons.trained_texts} texts, {lessons.trained_tokens:,} tokens, "
                    f"{lessons.trained_supervised:,} of them learnt",
                ),
                (
                    "texts",
                    "docstrings of the standard library, after “Explain `module.name`.”",
                ),
                ("trained on", f"texts drawn by the seed from {', '.join(lessons.train_modules)}"),
                (
                    "held out",
                    f"{', '.join(lessons.held_out_modules)}: {lessons.held_out_texts} texts drawn "
                    f"by the seed, {lessons.held_out_supervised:,} predicted tokens; no docstring "
                    "is in both parts",
                ),
                (
                    "measured on",
                    f"“{lessons.measured_text}”, {lessons.measured_tokens} tokens; time is that of "
                    f"the shortest of {REPEATS} steps, memory is counted tensor by tensor",
                ),
                ("whole run", f"{result.seconds:.0f} s"),
            ]
        ),
        report.paragraph("All numbers are in report.json beside this page.", small=True),
    )


def _cost_bars(
    caption: str,
    costs: Sequence[StepCost],
    figure: Callable[[StepCost], float],
    written: Callable[[float], str],
) -> str:
    first = figure(costs[0])
    return report.bars(
        caption,
        [
            report.Bar(
                cost.method,
                figure(cost),
                f"{written(figure(cost))} · {figure(cost) / first:.0%}",
                _COLOURS[cost.method],
            )
            for cost in costs
        ],
    )


def _peak_bars(costs: Sequence[StepCost]) -> str:
    """The peak of a step with everything in it, by kind."""
    shown = []
    for cost in costs:
        sizes = [cost.memory.kinds.get(kind, 0) for kind in _KINDS]
        sizes.append(cost.memory.peak - sum(sizes))
        parts = [report.Part(size, format_bytes(size)) for size in sizes]
        total = f"{format_bytes(cost.memory.peak)} · {cost.memory.peak / costs[0].memory.peak:.0%}"
        shown.append((cost.method, parts, total))
    return report.stacked_bars("Peak of the whole step", (*_KINDS, "other"), shown)


def _shade(token: Token, order: Sequence[float]) -> report.Shade:
    """The token in the report's terms; `order` holds the kept scores, highest first."""
    part = "answer" if token.supervised else "prompt"
    title = f"{part}, score {token.score:.3f}"
    if not token.kept:
        return report.Shade(token.text, not token.supervised, None, title)
    rank = order.index(token.score)
    strength = 1 - rank / max(1, len(order) - 1)
    told = f"{title}, kept as number {rank + 1} of {len(order)}"
    return report.Shade(token.text, not token.supervised, strength, told)


def _where(result: DemoResult) -> str:
    setup = result.setup
    return f"{setup.device}, {setup.threads} threads" if setup.device == "cpu" else setup.device


def _size(count: float) -> str:
    return format_bytes(int(count))


def _seconds(seconds: float) -> str:
    return f"{seconds:.2f} s"
