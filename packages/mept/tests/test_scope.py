"""Which tokens routers see, and that none is told what it is to predict."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from mept._scope import before_labels
from tiny import DECODERS, SEQ2SEQ, tiny_batch, tiny_model, tuned

pytestmark = pytest.mark.filterwarnings("ignore:sliding_window:UserWarning")


def seen(model: Any, **inputs: Any) -> list[list[int]]:
    """The tokens that the routers of each input saw in a call."""
    found: list[Tensor] = []
    layer = next(m for m in model.modules() if type(m).__name__ == "MeptLayer")
    layer.base_layer.register_forward_pre_hook(
        lambda *_: found.append(layer.current.prompted.scope)
    )
    model(**inputs)
    return [row.nonzero().flatten().tolist() for row in found[0]]


def before(real: str, labels: str) -> str:
    """`before_labels` on one row, written with one letter a token."""
    mask = torch.tensor([[c == "1" for c in real]])
    targets = torch.tensor([[-100 if c == "." else 5 for c in labels]])
    return "".join("x" if b else "." for b in before_labels(mask, targets)[0].tolist())


@pytest.mark.parametrize(
    ("real", "labels", "expected"),
    [
        ("11111", "..555", "xx..."),  # what comes before the first label
        ("11111", "..5.5", "xx..."),  # and nothing after it, labelled or not
        ("00111", "...55", "..x.."),  # padding is never seen
        ("11111", "55555", "x...."),  # the first token, where all are to be predicted
        ("00111", "..555", "..x.."),  # the first that is no padding
        ("11100", ".....", "xxx.."),  # all, where none is
        ("00000", ".....", "....."),
    ],
)
def test_routers_see_what_comes_before_the_first_label(
    real: str, labels: str, expected: str
) -> None:
    assert before(real, labels) == expected


@pytest.mark.parametrize("family", DECODERS)
def test_changing_a_token_to_be_predicted_changes_nothing_before_it(family: str) -> None:
    model = tuned(tiny_model(family)).eval()
    batch = tiny_batch(family)
    changed = batch | {"input_ids": batch["input_ids"].clone()}
    changed["input_ids"][:, 3] = (changed["input_ids"][:, 3] + 7) % 50 + 3
    before, after = model(**batch).logits, model(**changed).logits
    assert torch.equal(before[:, :3], after[:, :3])
    assert not torch.equal(before[:, 3:], after[:, 3:])


def test_scope_all_looks_ahead_as_it_says() -> None:
    model = tuned(tiny_model("llama"), routing_scope="all").eval()
    batch = tiny_batch("llama")
    assert seen(model, **batch) == [list(range(9)), list(range(6)), list(range(4))]
    del batch["labels"]
    assert seen(model, **batch) == [list(range(9)), list(range(6)), list(range(4))]


def test_an_explicit_mask_wins_but_never_shows_padding() -> None:
    model = tuned(tiny_model("llama")).eval()
    batch = tiny_batch("llama")
    mask = torch.zeros(3, 9, dtype=torch.long)
    mask[:, 1] = mask[:, 5] = 1
    assert seen(model, **batch, routing_mask=mask) == [[1, 5], [1, 5], [1]]


@pytest.mark.parametrize("family", [*SEQ2SEQ, "bert", "roberta"])
def test_encoders_show_all_real_tokens_or_those_of_an_explicit_mask(family: str) -> None:
    model = tuned(tiny_model(family)).eval()
    batch = tiny_batch(family)
    assert seen(model, **batch) == [list(range(9)), list(range(6)), list(range(4))]
    mask = torch.zeros(3, 9, dtype=torch.bool)
    mask[:, 1] = mask[:, 5] = True
    assert seen(model, **batch, routing_mask=mask) == [[1, 5], [1, 5], [1]]


@pytest.mark.parametrize("labels", [None, torch.tensor([0, 1, 1])])
def test_a_decoder_that_only_reads_shows_all_real_tokens(labels: Tensor | None) -> None:
    model = tuned(tiny_model("llama", "SEQ_CLS", num_labels=2), "SEQ_CLS").eval()
    batch = tiny_batch("llama") | {"labels": labels}
    assert seen(model, **batch) == [list(range(9)), list(range(6)), list(range(4))]


def test_the_backbone_alone_takes_a_mask_of_its_own() -> None:
    model = tuned(tiny_model("llama")).eval()
    batch = tiny_batch("llama")
    expected = model(**batch, output_hidden_states=True).hidden_states[-1]
    del batch["labels"]
    mask = torch.zeros(3, 9)
    mask[:, :2] = 1
    backbone = model.get_base_model().model
    assert torch.equal(backbone(**batch, routing_mask=mask).last_hidden_state, expected)
    with pytest.raises(ValueError, match="labels"):  # it holds for one call
        backbone(**batch)


def test_a_decoder_called_without_labels_is_refused() -> None:
    model = tuned(tiny_model("llama"))
    with pytest.raises(ValueError) as refused:  # noqa: PT011 - the whole text is compared
        model(input_ids=torch.ones(1, 4, dtype=torch.long))
    assert str(refused.value) == (
        "labels (None) must be given where a decoder is not called by generate, so that its "
        "prompts are routed by what comes before them; pass labels or routing_mask, wrap the "
        "data_collator of a Trainer that takes labels away in mept.RoutingCollator, or set "
        'routing_scope="all" where looking ahead does no harm'
    )
