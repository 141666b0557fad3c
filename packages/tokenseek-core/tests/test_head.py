"""The head in chunks: which heads are a table and nothing more, and what either way computes."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import PreTrainedModel

from families import FAMILIES, tiny_batch, tiny_model
from slow_reference import gradients, relative_error
from taken import always, take_step
from tiny_models import VOCABULARY
from tokenseek_core._anatomy import Anatomy
from tokenseek_core._batch import Batch
from tokenseek_core._head import Head
from tokenseek_core._loss import shift_labels
from tokenseek_core._projection import plain_projection, table_gradient


def final_states(model: PreTrainedModel, dtype: torch.dtype = torch.float64) -> Tensor:
    torch.manual_seed(0)
    return torch.randn(3, 20, model.config.hidden_size, dtype=dtype)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_head_is_plain_where_its_logits_are_a_product_and_nothing_more(family: str) -> None:
    model = tiny_model(family)
    plain = plain_projection(Anatomy.of(model, model), final_states(model))
    capped = getattr(model.config, "final_logit_softcapping", None)
    assert (plain is None) == (capped is not None)


@pytest.mark.parametrize("change", ["scaled", "forbidden tokens in place", "transformed input"])
def test_a_head_that_does_more_is_not_plain(change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("llama")
    original = type(model).forward

    @functools.wraps(original)
    def forward(self: PreTrainedModel, *args: Any, **kwargs: Any) -> Any:
        output = original(self, *args, **kwargs)
        if change == "scaled":
            output.logits = output.logits * 0.5
        if change == "forbidden tokens in place":
            output.logits[..., 3] = -10.0
        return output

    monkeypatch.setattr(type(model), "forward", forward)
    if change == "transformed input":
        head = model.get_output_embeddings()
        assert head is not None
        head.register_forward_pre_hook(lambda module, args: (args[0] * 2,))
    assert plain_projection(Anatomy.of(model, model), final_states(model)) is None


class AsLarge(TorchDispatchMode):
    """Names what has a result of so many numbers, views aside."""

    def __init__(self, numel: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.numel, self.names = numel, list[str]()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        if isinstance(output, Tensor) and not func.is_view and output.numel() >= self.numel:
            self.names.append(func.overloadpacket.__name__)
        return output


def test_the_gradient_of_a_table_by_few_rows_needs_no_second_table(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    v, d, n = 512, 64, 3
    monkeypatch.setattr("tokenseek_core._chunks.LEAST", v * d * 4 // 8)
    monkeypatch.setattr("tokenseek_core._chunks.MOST_ON_HOST", v * d * 4 // 8)
    torch.manual_seed(0)
    weight, hidden = torch.randn(v, d, requires_grad=True), torch.randn(n, d)
    target, weights = torch.tensor([0, 7, 511]), torch.tensor([1.0, 2.0, 0.5])
    logits = hidden @ weight.T
    (F.cross_entropy(logits, target, reduction="none") * weights).sum().backward()
    log_total = logits.detach().logsumexp(1)
    with AsLarge(v * d // 2) as large:
        found = table_gradient(weight.detach(), hidden, target, log_total, weights)
    assert large.names == ["empty_like"]
    torch.testing.assert_close(found, weight.grad)


@pytest.mark.parametrize("rows", [4, 1000], ids=["chunks", "whole"])
@pytest.mark.parametrize("plain", [True, False], ids=["plain", "through the model"])
def test_losses_and_gradients_equal_autograds(
    monkeypatch: pytest.MonkeyPatch, plain: bool, rows: int
) -> None:
    monkeypatch.setattr("tokenseek_core._chunks.MOST_ON_HOST", rows * 8 * VOCABULARY)
    if not plain:
        monkeypatch.setattr("tokenseek_core._head.plain_projection", lambda *given: None)
    model = tiny_model("llama")
    weight: Any = model.get_output_embeddings()
    weight = weight.weight
    batch = Batch.of(tiny_batch("left"))
    final = final_states(model).requires_grad_()
    targets = shift_labels(batch.labels)
    weights = torch.rand(3, 20, dtype=torch.float64) * (targets != -100)

    expected = F.cross_entropy(
        F.linear(final, weight).flatten(0, 1), targets.flatten(), reduction="none"
    ).unflatten(0, (3, 20))
    (by_row,) = torch.autograd.grad(expected.sum(), final, retain_graph=True)
    (by_table,) = torch.autograd.grad((expected * weights).sum(), weight)

    head = Head(Anatomy.of(model, model), targets, batch.counts.total)
    found = head.row_losses(final)
    (table,) = head.parameter_gradients(final, weights, found.log_total, [weight])
    torch.testing.assert_close(found.losses, expected.detach(), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found.adjoint, by_row, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(table, by_table, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(head.losses(final), found.losses)


@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_chunks_in_bfloat16_add_up_as_precisely_as_one(
    monkeypatch: pytest.MonkeyPatch, family: str
) -> None:
    model = tiny_model(family).bfloat16()
    batch = tiny_batch()

    def errors(rows: int) -> float:
        monkeypatch.setattr("tokenseek_core._chunks.MOST_ON_HOST", rows * 2 * VOCABULARY)
        found = take_step(model, batch, always(1.0, gradient="inject", check=False)).gradients
        model.double()
        model(**batch).loss.backward()
        expected = gradients(model)
        model.bfloat16()
        name = next(n for n in ("lm_head.weight", "model.embed_tokens.weight") if n in found)
        return relative_error({name: found[name].double()}, {name: expected[name]})

    assert errors(rows=1) < 1.2 * errors(rows=1000)
