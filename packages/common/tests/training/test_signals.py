from __future__ import annotations

import os
import signal

import pytest

from tokenseek_common import RunError
from tokenseek_common.training import asked_to_end, ended

BOTH = (signal.SIGTERM, signal.SIGINT)


def send(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", BOTH)
def test_a_signal_is_noted_and_told_once_and_nothing_is_interrupted(number: int) -> None:
    told: list[str] = []
    with asked_to_end(told.append) as signals:
        assert not signals
        send(number)
        assert signals == [number]
    assert told == ["ending after this step, with a checkpoint; Ctrl-C ends at once, without"]


def test_a_second_interrupt_ends_at_once() -> None:
    with asked_to_end(lambda _: None) as signals:
        send(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)
    assert signals == [signal.SIGTERM]


@pytest.mark.parametrize("failed", [False, True])
def test_signals_mean_after_the_block_what_they_meant_before(failed: bool) -> None:
    before = [signal.getsignal(number) for number in BOTH]

    def run() -> None:
        with asked_to_end(print):
            if failed:
                raise RuntimeError("stopped")

    if failed:
        with pytest.raises(RuntimeError, match="stopped"):
            run()
    else:
        run()
    assert [signal.getsignal(number) for number in BOTH] == before


@pytest.mark.parametrize(
    ("numbers", "kind"),
    [
        ([signal.SIGTERM], RunError),
        ([signal.SIGINT], KeyboardInterrupt),
        ([], RunError),  # another process was asked
    ],
)
def test_how_a_training_ends_says_what_asked_it_to(
    numbers: list[int], kind: type[BaseException]
) -> None:
    end = ended(numbers, "asked to end at step 5")
    assert type(end) is kind
    assert str(end) == "asked to end at step 5"
