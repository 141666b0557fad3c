from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from families import tiny_batch, tiny_model
from slow_reference import gradients, relative_error
from taken import always
from tokenseek_core import apply_tokenseek
from tokenseek_core._anatomy import apply
from tokenseek_core._tied import Embed, HeadGradient, Project

TOKENS = torch.tensor([[3, 5, 3, 0], [1, 3, 0, 6]])


def tied(weight: Tensor, mix: Tensor, padding_idx: int | None) -> Tensor:
    head = HeadGradient()
    hidden = torch.tanh(apply(Embed, weight, TOKENS, padding_idx, head) @ mix)
    return apply(Project, hidden, weight, head)


@pytest.mark.parametrize("padding_idx", [None, 0])
@pytest.mark.parametrize("width", [3, 20], ids=["more rows than width", "fewer"])
def test_the_shared_gradient_equals_autograds(padding_idx: int | None, width: int) -> None:
    torch.manual_seed(0)
    weight = torch.randn(7, width, dtype=torch.float64, requires_grad=True)
    mix = torch.randn(width, width, dtype=torch.float64, requires_grad=True)
    adjoint = torch.randn(2, 4, 7, dtype=torch.float64)
    hidden = torch.tanh(F.embedding(TOKENS, weight, padding_idx) @ mix)
    expected = torch.autograd.grad(F.linear(hidden, weight), (weight, mix), adjoint)
    found = torch.autograd.grad(tied(weight, mix, padding_idx), (weight, mix), adjoint)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_the_shared_gradient_passes_gradcheck() -> None:
    torch.manual_seed(0)
    weight = torch.randn(7, 5, dtype=torch.float64, requires_grad=True)
    mix = torch.randn(5, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda w, m: tied(w, m, None), (weight, mix))


def test_only_part_of_a_graph_may_be_differentiated_first() -> None:
    weight = torch.randn(7, 20, dtype=torch.float64, requires_grad=True)
    mix = torch.randn(20, 20, dtype=torch.float64, requires_grad=True)
    loss = tied(weight, mix, None).square().sum()
    (expected,) = torch.autograd.grad(loss, weight, retain_graph=True)
    torch.autograd.grad(loss, mix, retain_graph=True)  # leaves the head's part behind
    (found,) = torch.autograd.grad(loss, weight)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("autocast", [False, True], ids=["float32", "bfloat16 autocast"])
def test_tied_training_is_the_same_as_without(
    monkeypatch: pytest.MonkeyPatch, autocast: bool
) -> None:
    model = tiny_model("llama-tied").float()
    batch = tiny_batch("right")

    def step() -> dict[str, Tensor]:
        with apply_tokenseek(model, always(ratio=0.3)):
            with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
                loss = model(**batch).loss
            loss.backward()
        return gradients(model)

    shared = step()
    monkeypatch.setattr("tokenseek_core._replay.tied_gradient", lambda *given: nullcontext())
    plain = step()
    assert relative_error(shared, plain) < (2e-2 if autocast else 1e-5)


def test_embeddings_that_are_more_than_a_table_run_as_they_are() -> None:
    model = tiny_model("llama-tied")
    embedding = model.get_input_embeddings()
    assert isinstance(embedding, nn.Embedding)
    embedding.scale_grad_by_freq = True
    with apply_tokenseek(model, always()):
        loss = model(**tiny_batch()).loss
    names, nodes = set(), [loss.grad_fn]
    while nodes:
        node = nodes.pop()
        if node is not None and node.name() not in names:
            names.add(node.name())
            nodes += [parent for parent, _ in node.next_functions]
    assert "EmbedBackward" not in names
