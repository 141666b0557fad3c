from __future__ import annotations

import dataclasses
import shlex

import pytest

from tokenseek_core.advise import AdviseSettings, Option
from tokenseek_core.advise._recommendation import recommend

SETTINGS = AdviseSettings(model="m", data="d.jsonl", batch_size=2, length=64)
EVERYTHING = {
    "dense": (100, 1.0),
    "checkpointing": (60, 1.27),
    "checkpointing + chunked head": (50, 1.3),
    "TokenSeek": (40, 0.6),
    "TokenSeek + checkpointing": (30, 0.7),
}
BEHIND = EVERYTHING | {"answers": (25, 0.5), "answers + checkpointing": (20, 0.55)}


def ways(taken: dict[str, tuple[int, float]], device: int | None) -> dict[str, Option]:
    return {
        name: Option(
            step=f"our {name}",
            exact="TokenSeek" not in name and "answers" not in name,
            peak=peak,
            memory=peak / 100,
            operations=operations,
            fits=None if device is None else peak <= device,
        )
        for name, (peak, operations) in taken.items()
    }


@pytest.mark.parametrize(
    ("taken", "device", "step", "options"),
    [
        (EVERYTHING, None, "our dense", "--ratio 1"),
        (EVERYTHING, 100, "our dense", "--ratio 1"),
        (EVERYTHING, 50, "our checkpointing + chunked head", None),
        (EVERYTHING, 40, "our TokenSeek", ""),
        (EVERYTHING, 39, "our TokenSeek + checkpointing", "--gradient-checkpointing"),
        (BEHIND, None, "our answers", ""),
        (BEHIND, 100, "our answers", ""),
        (BEHIND, 24, "our answers + checkpointing", "--gradient-checkpointing"),
    ],
)
def test_the_first_way_that_fits_is_advised_exact_ones_first_but_for_answers(
    taken: dict[str, tuple[int, float]], device: int | None, step: str, options: str | None
) -> None:
    found = recommend(SETTINGS, ways(taken, device), 0.12 if taken is BEHIND else 1.0)
    assert found.step == step
    if options is None:
        assert found.command is None
    else:
        command = "tokenseek finetune --model m --data d.jsonl --batch-size 2 --max-length 64"
        assert found.command == f"{command} {options}".rstrip()


def test_the_reason_has_the_figures_of_what_is_advised_and_of_its_rival() -> None:
    assert recommend(SETTINGS, ways(BEHIND, None), 0.21).reason == (
        "Your answers are 21% of the tokens: keep all that carry the loss and a tenth of the "
        "others, for 0.25 of dense's memory at 0.50 of its operations. Checkpointing with head and "
        "loss in chunks, whose gradient is the dense one, takes 0.50 of dense's memory at 1.30 of "
        "its operations. After its first steps finetune says so where too much of the gradient "
        "would go through what is left out."
    )


def test_where_nothing_fits_the_way_out_is_told() -> None:
    settings = dataclasses.replace(SETTINGS, device_memory="10B")
    found = recommend(settings, ways(EVERYTHING, 10), 1.0)
    assert (found.step, found.command) == (None, None)
    assert found.reason == (
        "No step fits into 10B: the smallest, our TokenSeek + checkpointing, holds 30 B. Choose a "
        "smaller --length or --batch-size, or --lora."
    )


def test_the_command_takes_over_what_was_asked() -> None:
    settings = dataclasses.replace(SETTINGS, data="my data.csv", lora=True, template="plain")
    command = recommend(settings, ways(BEHIND, None), 0.2).command
    assert command is not None
    assert shlex.split(command)[-4:] == ["64", "--template", "plain", "--lora"]
    assert "'my data.csv'" in command
