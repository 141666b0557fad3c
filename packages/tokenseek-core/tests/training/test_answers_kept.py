"""Which tokens a fine-tuning keeps of answers behind prompts."""

from __future__ import annotations

import io
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from saved_llama import WORDS, save_llama
from tokenseek_common.cli import Console
from tokenseek_common.data import Example
from tokenseek_core import TokenSeekConfig
from tokenseek_core._instances import instance_of, share_kept, supervised_share, told
from tokenseek_core._selection import kept_tokens
from tokenseek_core.training import FinetuneSettings, finetune
from tokenseek_core.training._alike import AlikeTogether

SETTINGS = FinetuneSettings(model="m", data="d")


def example(prompt: int, answer: int) -> Example:
    """So many tokens of each."""
    ids = list(range(1, prompt + answer + 1))
    return Example(ids, [-100] * prompt + ids[prompt:])


BEHIND = [instance_of(example(30, 10)), instance_of(example(20, 6))]
MOSTLY_ANSWERS = [instance_of(example(5, 20))]


def test_answers_behind_prompts_are_kept_whole_with_a_tenth_of_the_prompts() -> None:
    assert supervised_share(BEHIND) == 16 / 66
    config = SETTINGS.config_for(BEHIND)
    assert config == TokenSeekConfig.answers()
    assert [kept_tokens(*each, config) for each in BEHIND] == [10 + 3, 6 + 2]
    assert share_kept(BEHIND, config) == 21 / 66
    assert told(config, 21 / 66) == (
        "keeps 32% of the tokens: all that carry the loss, 10% of the others"
    )


def test_where_most_tokens_carry_the_loss_the_default_is_left_as_it_is() -> None:
    config = SETTINGS.config_for(MOSTLY_ANSWERS)
    assert config == TokenSeekConfig()
    assert told(config, 0.12) == "keeps 12% of the tokens, chosen by sampled"


def test_where_so_many_would_be_kept_that_steps_were_dense_the_default_keeps_its_ratio() -> None:
    config = replace(SETTINGS, ratio=0.5).config_for(BEHIND)
    assert config == TokenSeekConfig(ratio=0.5)


@pytest.mark.parametrize(
    "asked", [{"selector": "sampled"}, {"gradient": "inject"}, {"selector": "tokenseek"}], ids=str
)
def test_who_asks_for_a_choice_of_tokens_gets_it(asked: dict[str, Any]) -> None:
    config = replace(SETTINGS, **asked).config_for(BEHIND)
    assert config == replace(TokenSeekConfig(), **asked)


def test_a_share_of_the_answers_can_be_asked_for_of_any_data() -> None:
    config = replace(SETTINGS, answer_ratio=0.25, ratio=0.2).config_for(MOSTLY_ANSWERS)
    assert config == replace(TokenSeekConfig.answers(0.2), answer_ratio=0.25)
    assert told(config, 0.24) == (
        "keeps 24% of the tokens: 25% of those that carry the loss, 20% of the others"
    )


def test_examples_of_a_batch_keep_about_as_many_tokens_and_none_is_left_out() -> None:
    kept = [7 * place % 50 for place in range(50)] + [3]
    order = AlikeTogether(kept, batch_size=5, seed=1)
    places = list(order)
    assert Counter(places) == Counter(range(51))
    assert len(order) == 51
    batches = [places[first : first + 5] for first in range(0, 51, 5)]
    spreads = [max(kept[i] for i in b) - min(kept[i] for i in b) for b in batches]
    assert max(spreads) <= 5  # each has neighbours by size, the smaller batch is the last
    assert places == list(order), "the same epoch has the same order"
    order.set_epoch(1)
    assert places != list(order)


def write(path: Path, count: int) -> Path:
    """Records whose answers of several lengths stand behind longer prompts."""
    lines = [
        json.dumps(
            {
                "prompt": " ".join(["say", *WORDS[3:9], WORDS[3:][number % 6]]),
                "response": " ".join([WORDS[3:][number % 6]] * (1 + number % 3)),
            }
        )
        for number in range(count)
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_run_says_beforehand_what_it_keeps(tmp_path: Path) -> None:
    heard = io.StringIO()
    console = Console(stderr=heard)
    settings = FinetuneSettings(
        model=str(save_llama(tmp_path / "model")),
        data=str(write(tmp_path / "train.jsonl", 10)),
        device="cpu",
        max_length=32,
        batch_size=2,
        steps=3,
    )
    result = finetune(settings, output=tmp_path / "whole", console=console)
    said = " ".join(heard.getvalue().split())
    assert "of the tokens: all that carry the loss, 10% of the others" in said
    assert result.supervised_share > 0.5
    assert result.kept_share < 0.6
    record = json.loads((tmp_path / "whole" / "finetune.json").read_text())
    assert record["options"] == settings.decisive


def test_all_settings_of_the_rows_reach_the_step() -> None:
    settings = replace(SETTINGS, alpha=0.5, beta=2.0, kv_offload=True)
    for config in (settings.config, settings.config_for(BEHIND)):
        assert (config.alpha, config.beta, config.kv_offload) == (0.5, 2.0, True)
