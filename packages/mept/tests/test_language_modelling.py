"""Texts that are all to be predicted, and trainers that keep the labels to themselves."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import Trainer, TrainingArguments

from mept import RoutingCollator
from mept._scope import is_bare, without_prefix
from tiny import DECODERS, prompts_of, tiny_batch, tiny_model, tuned
from tokenseek_common import InputError
from tokenseek_common.data import PaddingCollator

WARNING = (
    "labels (64 rows, all to be predicted from the start) let routers see the first token alone, "
    "so that texts that begin alike train the same experts and no others; set routing_prefix=0.25 "
    "in MeptConfig to route by the first quarter of each, give prompts the label -100, or pass "
    "routing_mask"
)


def texts(rows: int = 64) -> Tensor:
    """Texts that begin alike."""
    ids = torch.randint(3, 61, (rows, 12), generator=torch.Generator().manual_seed(0))
    ids[:, 0] = 1
    return ids


def trained_experts(model: Any) -> list[int]:
    """How many experts of each layer have had a gradient."""
    experts = [p.grad for name, p in prompts_of(model).items() if name.endswith(".experts")]
    return [int((grad.flatten(1) != 0).any(1).sum()) for grad in experts if grad is not None]


@pytest.mark.parametrize("start", [0, 1], ids=["with a label", "without"])
def test_texts_that_are_routed_by_the_same_token_train_the_same_experts_and_are_warned_of(
    start: int,
) -> None:
    model, ids = tuned(tiny_model("llama")), texts()
    labels = ids.clone()
    labels[:, :start] = -100
    with pytest.warns(UserWarning, match="labels") as said:
        model(input_ids=ids, labels=labels).loss.backward()
    assert [str(each.message) for each in said] == [WARNING]
    assert trained_experts(model) == [2, 2, 2]
    model(input_ids=ids, labels=labels)  # once


def test_a_share_of_each_text_as_its_prompt_trains_all_experts() -> None:
    model, ids = tuned(tiny_model("llama"), routing_prefix=0.25), texts()
    model(input_ids=ids, labels=ids).loss.backward()
    assert trained_experts(model) == [4, 4, 4]


@pytest.mark.filterwarnings("ignore:sliding_window:UserWarning")
@pytest.mark.parametrize("family", DECODERS)
def test_a_share_as_prompt_is_what_labels_without_it_give(family: str) -> None:
    model, batch = tuned(tiny_model(family), routing_prefix=0.3), tiny_batch(family, "left")
    ids, mask = batch["input_ids"], batch["attention_mask"]
    batch["labels"] = ids.masked_fill(mask == 0, -100)
    found = model(**batch)
    model.peft_config["default"].routing_prefix = 0.0
    for row, length in enumerate((9, 6, 4)):  # ceil(0.3 n) of the real ones are the prompt
        batch["labels"][row, : 9 - length + -(-3 * length // 10)] = -100
    expected = model(**batch)
    assert torch.equal(found.logits, expected.logits)
    assert torch.equal(found.loss, expected.loss)


@pytest.mark.parametrize(
    ("real", "labels", "bare", "learnt"),
    [
        ("11111111", "55555555", True, "..555555"),
        ("11111111", ".5555555", True, "..555555"),  # the first is never predicted
        ("00111111", "..555555", True, "....5555"),  # behind padding
        ("11111111", "..555555", False, "..555555"),  # a prompt of two
        ("11111111", "........", False, "........"),
        ("11000000", "55......", True, ".5......"),  # the last stays
        ("10000000", "5.......", True, "5......."),
        ("00000000", "........", False, "........"),
    ],
)
def test_which_rows_have_no_prompt(real: str, labels: str, bare: bool, learnt: str) -> None:
    mask = torch.tensor([[c == "1" for c in real]])
    targets = torch.tensor([[-100 if c == "." else 5 for c in labels]])
    assert is_bare(mask, targets).tolist() == [bare]
    found = without_prefix(mask, targets, 0.25)[0].tolist()
    assert "".join("." if label == -100 else "5" for label in found) == learnt


def test_the_mean_loss_of_a_step_is_that_of_the_targets_that_are_left() -> None:
    """The Trainer counts them before a share is taken off, and adds up what calls return."""
    model, ids = tuned(tiny_model("llama"), routing_prefix=0.25), texts(4)
    whole = model(input_ids=ids, labels=ids).loss
    parts = [
        model(input_ids=rows, labels=rows, num_items_in_batch=4 * 11).loss for rows in ids.split(2)
    ]
    torch.testing.assert_close(torch.stack(parts).sum(), whole, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"routing_scope": "all"}, {}), ({}, {"routing_mask": torch.ones(4, 12)})],
    ids=["scope", "mask"],
)
def test_where_routers_see_more_nothing_is_warned_of_and_nothing_taken_off(
    settings: dict[str, Any], said: dict[str, Tensor]
) -> None:
    ids = texts(4)
    found = [
        tuned(tiny_model("llama"), routing_prefix=share, **settings)(
            input_ids=ids, labels=ids, **said
        ).loss
        for share in (0.0, 0.5)
    ]
    assert torch.equal(*found)


@pytest.mark.parametrize("value", [-0.1, 1.0, "half"])
def test_shares_outside_their_range_are_refused(value: Any) -> None:
    with pytest.raises(InputError) as refused:
        tuned(tiny_model("llama"), routing_prefix=value)
    assert str(refused.value) == f"routing_prefix ({value!r}) must be a number in [0, 1); 0 is none"


def rows_of(*, prompt: int) -> list[dict[str, list[int]]]:
    found = []
    for row, length in zip(texts(8).tolist(), (12, 9, 7, 12, 5, 6, 8, 10), strict=True):
        labels = [-100] * prompt + row[prompt:length]
        found.append({"input_ids": row[:length], "labels": labels})
    return found


def smoothed(outputs: Any, labels: Tensor, num_items_in_batch: Any = None) -> Tensor:
    return torch.nn.functional.cross_entropy(
        outputs.logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), label_smoothing=0.1
    )


@pytest.mark.parametrize("way", ["label_smoothing_factor", "compute_loss_func"])
def test_a_trainer_that_takes_labels_away_leaves_what_the_collator_says(
    way: str, tmp_path: Path
) -> None:
    model = tuned(tiny_model("llama").float())
    plain = way == "compute_loss_func"
    arguments = TrainingArguments(
        str(tmp_path),
        max_steps=1,
        per_device_train_batch_size=8,
        label_smoothing_factor=0.0 if plain else 0.1,
        use_cpu=True,
        report_to=[],
        disable_tqdm=True,
        save_strategy="no",
        learning_rate=0.0,
    )
    batch = RoutingCollator(PaddingCollator(0))(rows_of(prompt=3))
    assert batch["routing_mask"].tolist() == [[1, 1, 1] + [0] * 9] * 8
    expected = smoothed(model(**batch), batch["labels"])
    trainer = Trainer(
        model,
        arguments,
        data_collator=RoutingCollator(PaddingCollator(0)),
        train_dataset=rows_of(prompt=3),
        compute_loss_func=smoothed if plain else None,
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        found = trainer.train().training_loss
    assert found == pytest.approx(expected.item(), rel=1e-5)


def test_the_collator_takes_a_share_of_what_is_all_to_be_predicted() -> None:
    batch = RoutingCollator(PaddingCollator(0), routing_prefix=0.5)(rows_of(prompt=0))
    assert batch["routing_mask"].sum(1).tolist() == [6, 5, 4, 6, 3, 3, 4, 5]
    assert (batch["labels"] != -100).sum(1).tolist() == [6, 4, 3, 6, 2, 3, 4, 5]


def test_what_the_collator_cannot_work_with_is_refused() -> None:
    with pytest.raises(InputError) as refused:
        RoutingCollator(lambda rows: {"input_ids": torch.ones(1, 2)})([{}])
    assert str(refused.value) == (
        "batch (input_ids) must have labels, before which the prompts are; choose a collator that "
        "makes them"
    )
    with pytest.raises(InputError) as refused:
        RoutingCollator(PaddingCollator(0), routing_prefix=1.0)
    assert str(refused.value) == "routing_prefix (1.0) must be a number in [0, 1); 0 is none"
