from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from exact import BOUND, exact_model
from families import tiny_batch, tiny_model
from slow_inject import slow_inject
from slow_reference import gradients, relative_error, slow_loss
from taken import always
from taken import kept as kept_tokens
from tokenseek_core import Signals, TokenSeekConfig, apply_tokenseek
from tokenseek_core._scores import perturbed, random_scores
from tokenseek_core._selection import Stratum, select
from tokenseek_core._selectors import NAMED, NO_CONTEXT, NO_GRADIENT, ranks, sampling_log_p


def signals(**settings: Any) -> Signals:
    """The signals of one step on a padded batch."""
    seen: list[Signals] = []

    def look(found: Signals) -> Tensor:
        seen.append(found)
        _ = found.context, found.gradient, found.token_loss  # before the step frees the graph
        return found.context

    with apply_tokenseek(tiny_model("llama"), always(selector=look, **settings)) as handle:
        handle.model(**tiny_batch("right"))
    return seen[0]


CONFIG = TokenSeekConfig()


@pytest.mark.parametrize(
    ("name", "signal"), [("context", "context"), ("gradient", "gradient"), ("loss", "token_loss")]
)
def test_selectors_of_one_signal_score_by_it(name: str, signal: str) -> None:
    found = signals()
    assert torch.equal(NAMED[name](found, CONFIG), getattr(found, signal))


def test_product_and_saliency_score_by_their_formulas() -> None:
    found = signals()
    expected = found.gradient * found.context**0.5
    torch.testing.assert_close(NAMED["product"](found, CONFIG), expected)
    norms = torch.linalg.vector_norm(found.adjoint, dim=2) * torch.linalg.vector_norm(
        found.state, dim=2
    )
    torch.testing.assert_close(NAMED["saliency"](found, CONFIG), norms)


def test_ranks_start_at_the_highest_score_and_leave_padding_for_the_end() -> None:
    scores = torch.tensor([[3.0, 9.0, 5.0, 7.0]])
    valid = torch.tensor([[True, False, True, True]])
    assert ranks(scores, valid).tolist() == [[2, 3, 1, 0]]


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 1.0])
@pytest.mark.parametrize("ratio", [0.1, 0.3, 0.5])
def test_quota_is_the_union_of_the_best_by_context_and_the_best_by_gradient(
    share: float, ratio: float
) -> None:
    found = signals()
    scores = NAMED["quota"](found, TokenSeekConfig(context_share=share))
    kept = select(scores, [Stratum(found.valid, found.valid.sum(1).tolist(), ratio)])
    for row in range(3):
        chosen = set(kept.indices[row][kept.active[row]].tolist())
        by_context = ranks(found.context, found.valid)[row]
        by_gradient = ranks(found.gradient, found.valid)[row]
        first = sum(int(by_context[i]) < len(chosen) * share for i in chosen)
        second = sum(int(by_gradient[i]) < len(chosen) * (1 - share) for i in chosen)
        # Every one of both quotas' best is in, since the two overlap or fill the budget exactly.
        assert first >= int(share * len(chosen))
        assert second >= int((1 - share) * len(chosen))


@pytest.mark.parametrize("name", sorted(NO_GRADIENT))
def test_selectors_without_a_backward_keep_no_graph(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def refuse(*given: object, **settings: object) -> Tensor:
        raise AssertionError("a backward ran")

    model = tiny_model("llama")
    monkeypatch.setattr("tokenseek_core._anatomy.Anatomy.pull_back", refuse)
    with apply_tokenseek(model, always(selector=name, check=False)) as handle:
        model(**tiny_batch("left"))
        assert handle.last is not None


@pytest.mark.parametrize("name", sorted(NO_CONTEXT))
def test_selectors_without_context_compute_no_attention_map(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def refuse(*given: object, **settings: object) -> Tensor:
        raise AssertionError("an attention map was computed")

    model = tiny_model("llama")
    monkeypatch.setattr("tokenseek_core._record.attention_received", refuse)
    with apply_tokenseek(model, always(selector=name)) as handle:
        model(**tiny_batch("left"))
        assert handle.last is not None


def test_loss_selector_keeps_the_rows_of_the_highest_loss() -> None:
    model = tiny_model("llama")
    batch = tiny_batch()
    logits = model(input_ids=batch["input_ids"]).logits
    targets = F.pad(batch["labels"][:, 1:], (0, 1), value=-100)
    losses = F.cross_entropy(logits.transpose(1, 2), targets, reduction="none")
    with apply_tokenseek(model, always(0.1, selector="loss")) as handle:
        model(**batch)
    assert handle.last is not None
    assert torch.equal(handle.last.indices, losses.topk(2).indices.sort(dim=1).values)


def test_a_report_has_the_scores_as_they_were_whatever_had_to_be_kept() -> None:
    with apply_tokenseek(tiny_model("llama"), always(0.1, selector="random")) as handle:
        handle.model(**tiny_batch())
        assert handle.last is not None
        assert bool(handle.last.scores.isfinite().all())


def test_sampled_weights_make_sums_unbiased_and_have_the_chances_of_the_draw() -> None:
    torch.manual_seed(0)
    n, draws = 12, 40_000
    p = torch.rand(n, dtype=torch.float64).square()
    log_p = (p / p.sum()).log().expand(draws, n)
    valid = torch.ones(draws, n, dtype=torch.bool)
    gumbel = -torch.log(-torch.log(torch.rand(draws, n, dtype=torch.float64)))
    kept = select(log_p + gumbel, [Stratum(valid, [n] * draws, 0.3)], log_p)
    assert kept.indices.shape == (draws, 4)
    values = torch.randn(n, dtype=torch.float64)
    estimates = (values[kept.indices] * kept.importance).sum(1)
    error = estimates.std() / draws**0.5
    assert abs(estimates.mean() - values.sum()) < 4 * error


def test_sampled_keeps_all_with_weight_one_where_the_ratio_is_one() -> None:
    found = signals()
    log_p = sampling_log_p(found)
    scores = perturbed(log_p, random_scores(found.valid, [20, 13, 7]))
    kept = select(scores, [Stratum(found.valid, [20, 13, 7], 1.0)], log_p)
    assert kept.active.sum(1).tolist() == [20, 13, 7]
    assert torch.equal(kept.importance, torch.ones_like(kept.importance))


def test_a_tenth_of_the_sampling_is_uniform_and_the_rest_by_gradient() -> None:
    found = signals()
    p = sampling_log_p(found).exp()
    torch.testing.assert_close(p.sum(1), torch.ones(3, dtype=torch.float64))
    assert p[~found.valid].sum() == 0
    by_gradient = found.gradient / (found.gradient * found.valid).sum(1, keepdim=True)
    uniform = 1 / found.valid.sum(1, keepdim=True)
    torch.testing.assert_close(p[found.valid], (0.9 * by_gradient + 0.1 * uniform)[found.valid])


@pytest.mark.parametrize("padding", ["none", "left", "right"])
@pytest.mark.parametrize("gradient", ["restart", "inject"])
def test_sampled_gradients_equal_the_slow_reference(
    monkeypatch: pytest.MonkeyPatch, gradient: str, padding: str
) -> None:
    model = exact_model(monkeypatch, "llama-tied")
    batch = tiny_batch(padding)
    with apply_tokenseek(model, always(selector="sampled", gradient=gradient)) as handle:
        loss = model(**batch).loss
        loss.backward()
        keep = kept_tokens(handle, batch["labels"].shape)
        report = handle.last
    assert report is not None
    found = gradients(model)
    importance = torch.zeros(keep.shape, dtype=torch.float64)
    importance[keep] = report.importance[report.active].double()
    assert (importance[keep] > 1).any()
    if gradient == "inject":
        expected = slow_inject(model, batch, keep, importance=importance)
    else:
        expected = slow_loss(model, batch, keep, importance=importance)
        expected.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=BOUND)
    assert relative_error(found, gradients(model)) < BOUND
