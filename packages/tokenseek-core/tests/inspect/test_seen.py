from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from saved_llama import SPECIAL, WORDS, tiny_llama, tiny_tokenizer
from tokenseek_common.data import Example
from tokenseek_core import Signals, TokenSeekConfig, apply_tokenseek
from tokenseek_core.inspect import Seen, seen
from tokenseek_core.inspect._seen_page import strengths
from tokenseek_core.inspect._seen_picture import COLUMNS, laid_out

EXAMPLES = [
    Example([2, 5, 8, 4, 3, 8, 8, 8, 4], [-100] * 5 + [8, 8, 8, 4]),
    Example([2, 5, 9, 4, 3, 9, 9, 4], [-100] * 5 + [9, 9, 4]),
]


def looked_at(config: TokenSeekConfig) -> Seen:
    return seen(tiny_llama(), tiny_tokenizer(), EXAMPLES, config)


@pytest.mark.parametrize("gradient", ["restart", "inject"])
def test_the_score_of_the_paper_is_the_sum_of_the_two_terms(gradient: str) -> None:
    config = TokenSeekConfig(
        ratio=0.3,
        selector="tokenseek",
        gradient=gradient,  # type: ignore[arg-type]
        alpha=0.5,
        beta=2.0,
    )
    for instance in looked_at(config).instances:
        for token in instance:
            assert token.context is not None
            assert token.score == pytest.approx(token.context + token.gradient, abs=1e-5)
        assert max(token.gradient for token in instance) == pytest.approx(2.0)


@pytest.mark.parametrize("selector", ["tokenseek", "gradient", "context", "loss", "quota"])
def test_what_is_seen_is_what_a_step_keeps(selector: str) -> None:
    config = TokenSeekConfig(ratio=0.3, selector=selector)  # type: ignore[arg-type]
    found = looked_at(config)
    model = tiny_llama().train()
    for example, instance in zip(EXAMPLES, found.instances, strict=True):
        with apply_tokenseek(model, config) as handle:
            ids, labels = torch.tensor([example.input_ids]), torch.tensor([example.labels])
            model(input_ids=ids, labels=labels)
        assert handle.last is not None
        kept = [place for place, token in enumerate(instance) if token.kept]
        assert kept == handle.last.indices[0].tolist()
        assert [token.score for token in instance] == pytest.approx(handle.last.scores[0].tolist())


@pytest.mark.parametrize("selector", ["random", "sampled"])
def test_a_draw_keeps_what_a_step_with_the_same_seed_does(selector: str) -> None:
    config = TokenSeekConfig(ratio=0.3, selector=selector, check=False)  # type: ignore[arg-type]
    model, example = tiny_llama().train(), EXAMPLES[0]
    torch.manual_seed(3)
    tokens = seen(model, tiny_tokenizer(), [example], config).instances[0]
    torch.manual_seed(3)
    with apply_tokenseek(model, config) as handle:
        model(input_ids=torch.tensor([example.input_ids]), labels=torch.tensor([example.labels]))
    assert handle.last is not None
    kept = [place for place, token in enumerate(tokens) if token.kept]
    assert kept == handle.last.indices[0].tolist()


def test_tokens_carry_their_text_class_and_whether_they_are_supervised() -> None:
    tokens = looked_at(TokenSeekConfig(ratio=0.3)).instances[0]
    words = SPECIAL + WORDS
    assert [token.text.strip() for token in tokens] == [words[i] for i in EXAMPLES[0].input_ids]
    assert [token.kind for token in tokens] == [
        *("special", "prompt", "prompt", "special", "special"),
        *("answer", "answer", "answer", "special"),
    ]
    assert [token.supervised for token in tokens] == [False] * 4 + [True] * 4 + [False]


def test_answers_are_kept_whole_and_counted_by_class() -> None:
    found = looked_at(TokenSeekConfig.answers(ratio=0.25))
    supervised = [token for each in found.instances for token in each if token.supervised]
    assert supervised
    assert all(token.kept for token in supervised)
    shares = found.shares
    assert shares.by_class["answer"].tokens == 5
    assert shares.by_class["answer"].share == 1.0
    kept = sum(token.kept for each in found.instances for token in each)
    assert shares.all.kept == kept
    assert found.supervised_share == pytest.approx(len(supervised) / kept)


def test_the_model_is_left_as_it_was() -> None:
    model = tiny_llama().eval()
    before = copy.deepcopy(model.state_dict())
    seen(model, tiny_tokenizer(), EXAMPLES, TokenSeekConfig(ratio=0.3))
    assert not model.training
    assert "forward" not in vars(model)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_ratio_that_would_train_densely_is_looked_at_all_the_same() -> None:
    found = looked_at(TokenSeekConfig(ratio=1.0))
    assert all(token.kept for each in found.instances for token in each)


def test_a_selector_of_ones_own_is_looked_at_too() -> None:
    def last(signals: Signals) -> torch.Tensor:
        return torch.arange(signals.valid.shape[1])[None].float()

    config = TokenSeekConfig(ratio=0.2, selector=last, min_supervised=0)
    kept = [[token.kept for token in each] for each in looked_at(config).instances]
    assert kept == [[False] * 7 + [True] * 2, [False] * 6 + [True] * 2]


@given(st.lists(st.none() | st.floats(-1e6, 1e6), max_size=60))
def test_strengths_lie_between_0_and_1_in_the_order_of_the_values(
    values: list[float | None],
) -> None:
    found = strengths(values)
    assert all(0 <= strength <= 1 for strength in found)
    pairs = sorted((value, s) for value, s in zip(values, found, strict=True) if value is not None)
    assert [s for _, s in pairs] == sorted(s for _, s in pairs)


def test_one_extreme_value_leaves_room_for_the_others() -> None:
    found = strengths([1000.0, *map(float, range(39))])
    assert found[0] == 1.0
    assert found[20] == pytest.approx(0.5, abs=0.05)


def test_lines_of_a_picture_break_where_the_text_does_and_before_they_are_full() -> None:
    plain = looked_at(TokenSeekConfig(ratio=0.3)).instances[0][1]
    texts = ["one", "\n", "  two\n\n three", "", "x" * (COLUMNS - 5), "four"]
    cells, lines = laid_out([replace(plain, text=text) for text in texts])
    rows = ["".join(cell.text for cell in cells if cell.line == line) for line in range(lines)]
    assert rows == ["one⏎", "  two⏎", "⏎", " three·", "x" * (COLUMNS - 5) + "four"]
    assert [cell.token for cell in cells] == [0, 1, 2, 2, 2, 3, 4, 5]
    assert cells[-1].column == COLUMNS - 5
