from __future__ import annotations

import pytest
import torch
from torch import nn

from tokenseek_common import InputError
from tokenseek_common.tuning import freeze, trainability_restored, unfreeze


class Tied(nn.Module):
    """An embedding, a block and a head whose weight is the embedding's."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(5, 4)
        self.block = nn.Linear(4, 4)
        self.head = nn.Linear(4, 5, bias=False)
        self.head.weight = self.embed.weight


def trainable(module: nn.Module) -> set[str]:
    return {name for name, p in module.named_parameters() if p.requires_grad}


def test_patterns_freeze_what_they_match_and_leave_the_rest() -> None:
    model = Tied()
    assert freeze(model, "block.*") == ["block.weight", "block.bias"]
    assert trainable(model) == {"embed.weight"}
    assert unfreeze(model, "*.bias") == ["block.bias"]
    assert trainable(model) == {"embed.weight", "block.bias"}


def test_no_pattern_freezes_nothing_and_a_star_everything() -> None:
    model = Tied()
    assert freeze(model) == []
    assert trainable(model) == {"embed.weight", "block.weight", "block.bias"}
    freeze(model, "*")
    assert not trainable(model)


def test_a_tied_parameter_is_found_by_each_of_its_names() -> None:
    model = Tied()
    assert freeze(model, "head.weight") == ["head.weight"]
    assert not model.embed.weight.requires_grad


def test_a_pattern_that_matches_nothing_is_refused_before_anything_is_changed() -> None:
    model = Tied()
    told = (
        r"^pattern \(blok\.\*\) must match one of 4 names, such as embed\.weight; "
        r"correct it, or leave it out$"
    )
    with pytest.raises(InputError, match=told):
        freeze(model, "block.*", "blok.*")
    assert trainable(model) == {"embed.weight", "block.weight", "block.bias"}


def test_integers_are_not_to_be_trained() -> None:
    model = nn.Linear(2, 2)
    model.weight = nn.Parameter(torch.ones(2, 2, dtype=torch.uint8), requires_grad=False)
    freeze(model, "*")
    told = (
        r"^weight \(torch.uint8\) must be floating point to be trained; "
        r"choose a pattern that leaves it out$"
    )
    with pytest.raises(InputError, match=told):
        unfreeze(model, "*")
    assert not model.bias.requires_grad


def test_what_was_trainable_is_so_again_after_a_block_that_fails() -> None:
    model = Tied()
    freeze(model, "block.bias")
    with pytest.raises(InputError), trainability_restored(model):
        freeze(model, "bad", *unfreeze(model, "*"), *freeze(model, "embed.*"))
    assert trainable(model) == {"embed.weight", "block.weight"}
