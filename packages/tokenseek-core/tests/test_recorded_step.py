from __future__ import annotations

from pathlib import Path

import pytest
import torch

from saved_llama import tiny_tokenizer
from tokenseek_common import InputError
from tokenseek_core import StepReport
from tokenseek_core._kept_shares import PARTS, Kept, kept_shares
from tokenseek_core._recorded_step import RecordedStep, ScoreStatistics, read_recorded
from tokenseek_core._token_classes import TokenClass, TokenClasses, class_by_letters


def report() -> StepReport:
    """Two instances, <user> say red | red <end> and say it, of which three tokens are kept."""
    ids = [[2, 5, 8, 8, 4], [5, 6, 0, 0, 0]]
    return StepReport(
        indices=torch.tensor([[2, 3], [1, 4]]),
        active=torch.tensor([[True, True], [True, False]]),
        scores=torch.tensor([[1.0, 2, 3, 4, 5], [6, 7, -torch.inf, -torch.inf, -torch.inf]]),
        importance=torch.ones(2, 2),
        supervised_share=torch.tensor(1 / 3),
        kept_bytes=0,
        labels=torch.tensor([[-100, -100, -100, 8, 4], [-100] * 5]),
        valid=torch.tensor([[True] * 5, [True, True, False, False, False]]),
        input_ids=torch.tensor(ids),
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (" 42", "number"),
        ("3.5%", "number"),
        ("½", "number"),
        (" ...", "punctuation"),
        ("+=", "punctuation"),
        ("»", "punctuation"),
        (" word", None),
        ("x1", None),
        ("\n", None),
        ("", None),
        ("\N{REPLACEMENT CHARACTER}", None),
    ],
)
def test_letters_tell_numbers_and_punctuation_from_words(text: str, expected: str | None) -> None:
    assert class_by_letters(text) == expected


def test_each_token_has_the_class_of_its_letters_or_of_its_place() -> None:
    classes = TokenClasses(tiny_tokenizer())
    assert classes.of(4, answer=True) == "special"
    assert classes.of(8, answer=True) == "answer"
    assert classes.of(8, answer=False) == "prompt"
    assert TokenClasses(None).of(4, answer=True) == "answer"
    assert classes.of(None, answer=False) == "prompt"


def test_shares_are_counted_by_class_and_by_tenths_of_an_instance() -> None:
    prompt: tuple[TokenClass, bool] = ("prompt", False)
    kept: tuple[TokenClass, bool] = ("answer", True)
    shares = kept_shares([[prompt] * 15 + [kept] * 5, [("answer", False)]])
    assert shares.by_class["prompt"] == Kept(15, 0)
    assert shares.by_class["answer"] == Kept(6, 5)
    assert shares.by_class["number"].share is None
    assert shares.by_position == (Kept(3, 0), *[Kept(2, 0)] * 6, Kept(2, 1), *[Kept(2, 2)] * 2)
    assert len(shares.by_position) == PARTS
    assert shares.all == Kept(21, 5)


def test_a_step_is_recorded_without_its_padding_and_surplus_rows() -> None:
    step = RecordedStep.of(report(), 7, TokenClasses(tiny_tokenizer()))
    assert step.shares.by_class == {
        "prompt": Kept(4, 2),
        "answer": Kept(1, 1),
        "punctuation": Kept(0, 0),
        "number": Kept(0, 0),
        "special": Kept(2, 0),
    }
    assert step.shares.all == Kept(7, 3)
    assert step.supervised_share == pytest.approx(1 / 3)
    assert step.score == ScoreStatistics(mean=4.0, std=2.0, max=7.0)


def test_a_log_gives_back_its_steps_in_order_and_the_later_of_two(tmp_path: Path) -> None:
    classes = TokenClasses(None)
    steps = [RecordedStep.of(report(), step, classes) for step in (1, 11, 1)]
    log = tmp_path / "kept.jsonl"
    log.write_text("".join(step.line() + "\n" for step in steps))
    assert read_recorded(log) == (steps[2], steps[1])


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (
            None,
            "must be a file that tokenseek finetune --record-every or TokenSeekCallback wrote; "
            "check the path",
        ),
        ("", "must hold at least one step; it is empty"),
        ("{}\n", "must be a recorded step; give the file that tokenseek finetune"),
        ("[1]\n", "must be a recorded step; give the file that tokenseek finetune"),
        ("no\n", "must be a recorded step; give the file that tokenseek finetune"),
    ],
    ids=["absent", "empty", "object", "list", "text"],
)
def test_what_is_no_log_is_refused(content: str | None, expected: str, tmp_path: Path) -> None:
    log = tmp_path / "kept.jsonl"
    if content is not None:
        log.write_text(content)
    with pytest.raises(InputError) as refused:
        read_recorded(log)
    assert str(refused.value).startswith(f"log ({log}")
    assert expected in str(refused.value)
