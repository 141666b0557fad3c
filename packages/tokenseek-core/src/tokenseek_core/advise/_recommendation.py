"""Which way to take: a rule that follows from what was measured.

- Where at most half of the tokens carry the loss, keeping all of those and a tenth of the others is
  what `finetune` does: it learns what dense training learns but for the gradient through the
  prompt's keys and values, and its steps are the cheapest in memory and time.
- Elsewhere no draw of a tenth of the tokens learns as much as dense training, at equal steps or at
  equal time: dense where it fits, then what computes the same gradient in less memory, and the
  kept tokens where nothing else fits.

docs/study.md and docs/choosing.md in the repository have the figures.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from tokenseek_common.memory import format_bytes
from tokenseek_core.advise._option import Option
from tokenseek_core.advise._settings import AdviseSettings

DENSE, CHUNKED = "dense", "checkpointing + chunked head"
ANSWERS, ANSWERS_CHECKPOINTED = "answers", "answers + checkpointing"
SAMPLED, SAMPLED_CHECKPOINTED = "TokenSeek", "TokenSeek + checkpointing"


@dataclass(frozen=True)
class Recommendation:
    """What to do.

    Args:
        step: The way that is advised, as the table calls it; None where none fits.
        reason: Why, in a sentence or two.
        command: How `tokenseek finetune` does it, where it does.
    """

    step: str | None
    reason: str
    command: str | None = None


def recommend(
    settings: AdviseSettings, ways: Mapping[str, Option], supervised: float
) -> Recommendation:
    """Choose the first way that fits, of those that the data leave in their order.

    Args:
        settings: What was asked.
        ways: What each takes; without "answers" where the data are none behind prompts.
        supervised: Share of the tokens that carry the loss.
    """
    last = (CHUNKED, SAMPLED, SAMPLED_CHECKPOINTED)
    order = (ANSWERS, ANSWERS_CHECKPOINTED, *last) if ANSWERS in ways else (DENSE, *last)
    way = next((name for name in order if ways[name].fits is not False), None)
    if way is None:
        least = min(ways.values(), key=lambda option: option.peak)
        lora = "" if settings.lora else ", or --lora"
        return Recommendation(
            None,
            f"No step fits into {settings.device_memory}: the smallest, {least.step}, holds "
            f"{format_bytes(least.peak)}. Choose a smaller --length or --batch-size{lora}.",
        )
    reason = _REASONS[way].format(
        supervised=f"{supervised:.0%}", ours=_cost(ways[way]), rival=_cost(ways[CHUNKED])
    )
    return Recommendation(ways[way].step, reason, _command(settings, way, ways))


_REASONS = {
    ANSWERS: "Your answers are {supervised} of the tokens: keep all that carry the loss and a "
    "tenth of the others, for {ours}. Checkpointing with head and loss in chunks, whose gradient "
    "is the dense one, takes {rival}. After its first steps finetune says so where too much of the "
    "gradient would go through what is left out.",
    ANSWERS_CHECKPOINTED: "Your answers are {supervised} of the tokens: keep all that carry the "
    "loss and a tenth of the others, checkpointed so that they fit, for {ours}. The dense gradient "
    "takes {rival}, with checkpointing and head and loss in chunks.",
    DENSE: "{supervised} of your tokens carry the loss, and a tenth of them learns less than all, "
    "at equal steps and at equal time. Where memory is short, checkpointing with head and loss in "
    "chunks computes the same gradient for {rival}.",
    CHUNKED: "{supervised} of your tokens carry the loss. A dense step does not fit; checkpointing "
    "with head and loss in chunks (torch's linear_cross_entropy, or Liger) computes the same "
    "gradient for {ours}.",
    SAMPLED: "No step with the dense gradient fits. A tenth of the tokens, sampled, takes {ours}, "
    "and learns less at equal steps.",
    SAMPLED_CHECKPOINTED: "No step with the dense gradient fits. A tenth of the tokens, sampled "
    "and checkpointed, takes {ours}, and learns less at equal steps.",
}


def _cost(option: Option) -> str:
    return f"{option.memory:.2f} of dense's memory at {option.operations:.2f} of its operations"


def _command(settings: AdviseSettings, way: str, ways: Mapping[str, Option]) -> str | None:
    """The fine-tuning that takes a way; none has its head in chunks without TokenSeek."""
    if way == CHUNKED:
        return None
    options: list[str] = ["--model", settings.model, "--data", settings.data]
    options += ["--batch-size", str(settings.batch_size)]
    if settings.length is not None:
        options += ["--max-length", str(settings.length)]
    if settings.template != "auto":
        options += ["--template", settings.template]
    if settings.lora:
        options.append("--lora")
    if way == DENSE:
        options += ["--ratio", "1"]
    if way in (SAMPLED, SAMPLED_CHECKPOINTED) and ANSWERS in ways:
        options += ["--selector", "sampled"]
    if way in (ANSWERS_CHECKPOINTED, SAMPLED_CHECKPOINTED):
        options.append("--gradient-checkpointing")
    return shlex.join(["tokenseek", "finetune", *options])
