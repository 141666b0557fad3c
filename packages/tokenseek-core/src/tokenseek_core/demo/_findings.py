"""What a demo found, in sentences that follow from its numbers alone."""

from __future__ import annotations

from itertools import pairwise

from tokenseek_core.demo._result import DemoResult
from tokenseek_core.demo._training import Training

_TIE = 0.005  # nats; less than this is called equal


def findings(result: DemoResult) -> list[str]:
    """The conclusions that this run allows, the favourable and the others."""
    dense, seek = result.trainings[0], result.trainings[-1]
    return [_fall(result), _equal_steps(dense, seek), *_equal_time(dense, seek)]


def caveat(result: DemoResult) -> str:
    """What the conclusions rest on."""
    return (
        f"This is one run of one seed: {result.steps} steps, tested on "
        f"{result.lessons.held_out_texts} texts. It shows how the steps behave on this machine; "
        "it does not rank the methods."
    )


def same_losses(dense: Training, checkpointed: Training) -> str:
    """How far checkpointing was from the training that it computes over again."""
    apart = max(
        abs(ours.loss - theirs.loss)
        for ours, theirs in zip(dense.curve, checkpointed.curve, strict=True)
    )
    found = f"differ by at most {apart:.1g}" if apart else "are equal"
    return (
        "Checkpointing computes the dense gradient in another way, so that both follow the same "
        f"line: their held-out losses {found}."
    )


def _fall(result: DemoResult) -> str:
    """Whether there was anything to learn."""
    before = result.trainings[0].before.loss
    stuck = [training.method for training in result.trainings if training.after.loss >= before]
    if stuck:
        return f"The held-out loss did not fall with {' and '.join(stuck)}."
    return f"The held-out loss fell with every method, from {before:.3f}."


def _equal_steps(dense: Training, seek: Training) -> str:
    """Which of two is ahead after the last step."""
    ahead = seek.after.loss - dense.after.loss
    compared = (
        f"After {dense.after.step} steps it stood at {dense.after.loss:.3f} with dense training "
        f"and at {seek.after.loss:.3f} with TokenSeek"
    )
    if abs(ahead) < _TIE:
        return f"{compared}: equal at equal steps."
    winner = "dense training" if ahead > 0 else "TokenSeek"
    return f"{compared}: at equal steps {winner} is ahead by {abs(ahead):.3f}."


def _equal_time(dense: Training, seek: Training) -> list[str]:
    """Where dense training stood when TokenSeek was done; nothing if it was done before that."""
    if seek.after.seconds >= dense.after.seconds:
        return [
            f"TokenSeek's steps took {seek.after.seconds:.0f} s, the dense ones "
            f"{dense.after.seconds:.0f} s."
        ]
    stood = _loss_at(dense, seek.after.seconds)
    return [
        f"TokenSeek's steps took {seek.after.seconds:.0f} s; in that time dense training, whose "
        f"steps took {dense.after.seconds:.0f} s, had come to about {stood:.3f} "
        "(between two measured points)."
    ]


def _loss_at(training: Training, seconds: float) -> float:
    """The held-out loss after so many seconds, on the line between the points around them."""
    earlier, later = next(pair for pair in pairwise(training.curve) if seconds <= pair[1].seconds)
    share = (seconds - earlier.seconds) / (later.seconds - earlier.seconds)
    return earlier.loss + share * (later.loss - earlier.loss)
