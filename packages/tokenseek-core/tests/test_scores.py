from __future__ import annotations

import pytest
import torch
from torch import Tensor

from families import tiny_batch, tiny_model
from float64 import spare_float64
from taken import always
from tiny_models import VOCABULARY
from tokenseek_core import Signals, apply_tokenseek
from tokenseek_core._context import attention_received
from tokenseek_core._projection import project_rows
from tokenseek_core._scores import context_term, gradient_term, random_scores


def naive_columns(
    query: Tensor, key: Tensor, valid: Tensor, mask: Tensor, scaling: float
) -> Tensor:
    """Eq. 3, written with loops."""
    b, n_h, s, _ = query.shape
    columns = torch.zeros(b, s, dtype=query.dtype)
    for i in range(b):
        for h in range(n_h):
            k = key[i, h * key.shape[1] // n_h]
            attention = (query[i, h] @ k.T * scaling + mask[i]).softmax(-1)
            for row in range(s):
                if valid[i, row]:
                    columns[i] += attention[row] / n_h
    return columns


@pytest.mark.parametrize("chunk_bytes", [1, 3000, 2**23], ids=["row by row", "some", "whole"])
@pytest.mark.parametrize("form", ["none", "padding", "boolean", "additive"])
def test_attention_received_equals_the_sum_of_columns(
    monkeypatch: pytest.MonkeyPatch, chunk_bytes: int, form: str
) -> None:
    monkeypatch.setattr("tokenseek_core._chunks.MOST_ON_HOST", chunk_bytes)
    torch.manual_seed(0)
    query = torch.randn(2, 4, 9, 8, dtype=torch.float64)
    key = torch.randn(2, 2, 9, 8, dtype=torch.float64)
    valid = torch.ones(2, 9, dtype=torch.bool)
    if form != "none":
        valid[1, :4] = False
    allowed = torch.ones(9, 9).tril().bool() & valid[:, None]
    additive = torch.zeros(2, 9, 9, dtype=torch.float64).masked_fill(~allowed, -1e300)
    mask = {
        "none": None,
        "padding": valid.long(),
        "boolean": allowed[:, None],
        "additive": additive[:, None],
    }[form]
    found = attention_received(query, key, valid, mask=mask, causal=True, window=None, scaling=0.5)
    expected = naive_columns(query, key, valid, additive, 0.5)
    torch.testing.assert_close(found[valid], expected[valid], rtol=1e-12, atol=0)
    assert found[~valid].sum() == 0
    assert float(found.sum()) == pytest.approx(int(valid.sum()))  # each real query gives 1 away


def test_scores_grow_with_attention_and_gradient_and_normalise_within_real_tokens() -> None:
    context = torch.tensor([[1.0, 2.0, 4.0, 99.0]])
    gradient = torch.tensor([[3.0, 1.0, 2.0, 99.0]])
    valid = torch.tensor([[True, True, True, False]])
    scores = context_term(context, alpha=2.0) + gradient_term(gradient, valid, beta=3.0)
    expected = 2 * context.log() + 3 * torch.tensor([1.0, 0.0, 0.5, 0.0])
    torch.testing.assert_close(scores[:, :3], expected[:, :3])


def test_equal_gradients_do_not_divide_by_zero() -> None:
    ones = torch.ones(1, 3)
    assert gradient_term(ones, ones.bool(), beta=1.0).isfinite().all()


@pytest.mark.parametrize("padding", ["none", "left", "right"])
@pytest.mark.parametrize("family", ["llama-tied", "gpt2", "mistral"])
def test_signals_equal_those_of_a_dense_backward_pass(
    monkeypatch: pytest.MonkeyPatch, family: str, padding: str
) -> None:
    """Eq. 4 and the token losses, taken from one ordinary pass with a hook on the last block."""
    model = tiny_model(family)
    spare_float64(monkeypatch)
    several = 7 * 8 * VOCABULARY
    monkeypatch.setattr("tokenseek_core._chunks.MOST_ON_HOST", several)
    batch = tiny_batch(padding)
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    states: list[Tensor] = []
    blocks = next(m for m in model.base_model.children() if isinstance(m, torch.nn.ModuleList))
    hook = blocks[-1].register_forward_pre_hook(lambda m, args: states.append(args[0]))
    logits = model(**inputs).logits
    hook.remove()
    losses = torch.zeros(3, 20, dtype=torch.float64)
    for i in range(3):
        for j in range(19):
            if batch["labels"][i, j + 1] != -100:
                losses[i, j] = -logits[i, j].log_softmax(-1)[batch["labels"][i, j + 1]]
    (adjoint,) = torch.autograd.grad(losses.sum(), states[0])

    seen: list[Signals] = []

    def selector(signals: Signals) -> Tensor:
        seen.append(signals)
        torch.testing.assert_close(signals.token_loss, losses, rtol=1e-10, atol=1e-12)
        expected = adjoint.abs().sum(-1)
        torch.testing.assert_close(signals.gradient, expected, rtol=1e-9, atol=1e-12)
        return signals.context

    with apply_tokenseek(model, always(selector=selector)):
        model(**batch)
    assert len(seen) == 1
    assert torch.equal(seen[0].labels, batch["labels"])
    assert seen[0].input_ids is not None
    assert all(p.grad is None for p in model.parameters())


def test_scoring_never_holds_logits_of_all_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tokenseek_core._chunks.MOST_ON_HOST", 100 * 8 * VOCABULARY)
    model = tiny_model("llama")
    chunks: list[int] = []

    def spy(weight: Tensor, hidden: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        chunks.append(len(hidden))
        return project_rows(weight, hidden, target)

    monkeypatch.setattr("tokenseek_core._head.project_rows", spy)
    rows: list[int] = []
    head = model.get_output_embeddings()
    assert head is not None
    head.register_forward_hook(lambda m, args, out: rows.append(args[0][..., 0].numel()))
    torch.manual_seed(0)
    ids = torch.randint(3, 61, (4, 64))
    with apply_tokenseek(model, always(ratio=0.1, check=False)):
        model(input_ids=ids, labels=ids)
    assert rows == [0, 1, 4 * 7]  # record: none; one to see what the head does; replay
    assert chunks == [100, 100, 4 * 63 - 200]


def test_random_draws_depend_neither_on_the_batch_nor_on_padding() -> None:
    valid = torch.ones(2, 6, dtype=torch.bool)
    valid[1, :2] = False
    torch.manual_seed(7)
    together = random_scores(valid, [6, 4])
    torch.manual_seed(7)
    first = random_scores(torch.ones(1, 6, dtype=torch.bool), [6])
    second = random_scores(torch.ones(1, 4, dtype=torch.bool), [4])
    assert torch.equal(together[0], first[0])
    assert torch.equal(together[1, 2:], second[0])


def test_random_draws_differ_between_steps_and_instances() -> None:
    valid = torch.ones(2, 50, dtype=torch.bool)
    first, second = (random_scores(valid, [50, 50]) for _ in range(2))
    assert not torch.equal(first, second)
    assert not torch.equal(first[0], first[1])


@pytest.mark.parametrize(
    ("scores", "text"),
    [
        (torch.zeros(3, 19), r"selector \(scores of shape \[3, 19\]\) must return one score for"),
        (torch.full((3, 20), torch.nan), r"selector \(NaN or infinite scores\) must return finite"),
    ],
)
def test_callables_that_return_no_scores_are_refused(scores: Tensor, text: str) -> None:
    model = tiny_model("llama")
    with (
        apply_tokenseek(model, always(selector=lambda signals: scores)),
        pytest.raises(ValueError, match=text),
    ):
        model(**tiny_batch())
