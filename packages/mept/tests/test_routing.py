from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import reference
from mept import Routing, balance_loss, route, z_loss

D = 8


def material(
    b: int = 3,
    n: int = 5,
    e: int = 4,
    p: int = 2,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
) -> dict[str, Any]:
    torch.manual_seed(seed)
    return {
        "hidden_states": torch.randn(b, n, D, dtype=dtype),
        "mask": torch.rand(b, n) < 0.7,
        "router": torch.randn(e, D, dtype=dtype),
        "experts": torch.randn(e, p, D, dtype=dtype),
        "shared": torch.randn(p, D, dtype=dtype),
    }


def slow(given: dict[str, Any], k: int, divisor: int = 0) -> Tensor:
    prompts = {"0.router": given["router"], "0.experts": given["experts"]}
    if given.get("log_scale") is not None:
        prompts["0.router_scale"] = given["log_scale"]
    if given.get("mean") is not None:
        prompts["0.router_mean"] = given["mean"]
    if given["shared"] is not None:
        prompts["0.shared"] = given["shared"]
    inputs = zip(given["hidden_states"], given["mask"], strict=True)
    return torch.stack(
        [reference.mixed(list(rows[mask]), prompts, 0, k, divisor) for rows, mask in inputs]
    )


def with_logits(logits: Tensor, k: int) -> Routing:
    probabilities = logits.softmax(-1)
    chosen = probabilities.topk(k).indices
    rows, pooled = torch.zeros(len(logits), 1, D), torch.zeros(len(logits), D)
    return Routing(
        rows, logits, probabilities, chosen, probabilities, pooled, torch.ones_like(logits)
    )


@settings(max_examples=40, deadline=None)
@given(
    b=st.integers(1, 5),
    n=st.integers(1, 6),
    e=st.integers(1, 5),
    p=st.integers(1, 5),
    k=st.integers(1, 5),
    seed=st.integers(0, 99),
)
def test_rows_of_a_batch_are_those_of_each_input_by_plain_loops(
    b: int, n: int, e: int, p: int, k: int, seed: int
) -> None:
    """Also where the batch is as large as the rows are many, and one input has no token to show."""
    given, k = material(b, n, e, p, seed), min(k, e)
    given["mask"][0] = False
    torch.testing.assert_close(route(**given, top_k=k).prompts, slow(given, k))


@settings(max_examples=20, deadline=None)
@given(e=st.integers(1, 5), k=st.integers(1, 5), seed=st.integers(0, 99))
def test_a_cosine_router_is_that_of_plain_loops(e: int, k: int, seed: int) -> None:
    given = material(e=e, seed=seed) | {"log_scale": torch.tensor([1.3], dtype=torch.float64)}
    given["mask"][0] = False
    torch.testing.assert_close(route(**given, top_k=min(k, e)).prompts, slow(given, min(k, e)))
    given["mean"] = torch.randn(D, dtype=torch.float64)
    torch.testing.assert_close(route(**given, top_k=min(k, e)).prompts, slow(given, min(k, e)))


def test_a_cosine_router_does_not_mind_how_long_its_rows_and_its_tokens_are() -> None:
    given = material() | {"log_scale": torch.tensor([2.0], dtype=torch.float64)}
    expected = route(**given, top_k=2).logits
    assert expected.abs().max() <= math.exp(2.0)
    given["router"] = given["router"] * torch.tensor([[0.01], [1.0], [30.0], [1e4]])
    torch.testing.assert_close(route(**given, top_k=2, divisor=17).logits, expected)


def test_what_is_masked_changes_nothing() -> None:
    given = material()
    expected = route(**given, top_k=2)
    given["hidden_states"] = given["hidden_states"].clone()
    given["hidden_states"][~given["mask"]] = 1e6
    torch.testing.assert_close(route(**given, top_k=2), expected)


def test_gates_are_probabilities_of_the_chosen_and_not_made_to_sum_to_one() -> None:
    routing = route(**material(), top_k=2)
    assert (routing.gates > 0).sum(1).tolist() == [2, 2, 2]
    kept = routing.probabilities.gather(1, routing.chosen)
    assert torch.equal(routing.gates.gather(1, routing.chosen), kept)
    assert (routing.gates.sum(1) < 0.999).all()
    normalized = route(**material(), top_k=2, normalize=True)
    torch.testing.assert_close(normalized.gates, routing.gates / kept.sum(1, keepdim=True))


def test_a_divisor_takes_the_place_of_the_number_of_tokens() -> None:
    given = material()
    torch.testing.assert_close(route(**given, top_k=2, divisor=7).prompts, slow(given, 2, 7))


def test_gradients_are_those_of_finite_differences() -> None:
    given = material()
    mask = given.pop("mask")
    tensors = [value.requires_grad_() for value in given.values()]

    def rows(h: Tensor, w: Tensor, x: Tensor, s: Tensor) -> Tensor:
        return route(h, mask, w, x, s, top_k=2).prompts

    assert torch.autograd.gradcheck(rows, tensors)

    mean = torch.randn(D, dtype=torch.float64)

    def cosine_rows(h: Tensor, w: Tensor, x: Tensor, s: Tensor, t: Tensor) -> Tensor:
        return route(h, mask, w, x, s, top_k=2, log_scale=t, mean=mean).prompts

    log_scale = torch.tensor([1.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(cosine_rows, [*tensors, log_scale])


def test_an_expert_that_nobody_chose_gets_a_gradient_of_zeros() -> None:
    given = material(b=1)
    given["experts"].requires_grad_()
    routing = route(**given, top_k=1)
    routing.prompts.sum().backward()
    others = torch.arange(4) != routing.chosen[0, 0]
    assert torch.equal(given["experts"].grad[others], torch.zeros(3, 2, D, dtype=torch.float64))


def test_noise_scales_the_logits_once() -> None:
    given = material(b=4000, n=1)
    given["hidden_states"] = given["hidden_states"][:1].expand(4000, -1, -1)
    given["mask"] = torch.ones(4000, 1, dtype=torch.bool)
    routing = route(**given, top_k=1, noise=0.5)
    clean = route(**given, top_k=1).logits
    assert torch.equal(routing.logits, clean)
    # Logits are known from probabilities but for a constant: compare two of them.
    noisy = routing.probabilities.log()
    apart = noisy[:, 0] - noisy[:, 1]
    expected = 0.5 * math.hypot(float(clean[0, 0]), float(clean[0, 1]))
    assert float(apart.std()) == pytest.approx(expected, rel=0.05)
    error = expected / math.sqrt(4000)
    assert float(apart.mean()) == pytest.approx(float(clean[0, 0] - clean[0, 1]), abs=4 * error)


def test_gumbel_draws_experts_by_their_probabilities_and_keeps_the_gates() -> None:
    given = material(b=4000, n=1)
    given["hidden_states"] = given["hidden_states"][:1].expand(4000, -1, -1)
    given["mask"] = torch.ones(4000, 1, dtype=torch.bool)
    given["router"] = (0.5 * given["router"]).requires_grad_()  # several are likely
    routing = route(**given, top_k=1, gumbel=True)
    drawn = routing.chosen[:, 0].bincount(minlength=4) / 4000
    torch.testing.assert_close(drawn, routing.probabilities[0].float().detach(), atol=0.03, rtol=0)
    clean = route(**given, top_k=4)
    assert torch.equal(routing.probabilities, clean.probabilities)
    kept = routing.gates.gather(1, routing.chosen)
    assert torch.equal(kept, clean.probabilities.gather(1, routing.chosen))


def test_without_noise_two_calls_agree() -> None:
    given = material()
    first, second = route(**given, top_k=1), route(**given, top_k=1)
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


@pytest.mark.parametrize("draws", [{"noise": 1.0}, {"noise": 0.5, "gumbel": True}], ids=str)
def test_what_was_recorded_is_repeated_from_some_tokens_with_their_gradient_alone(
    draws: dict[str, Any],
) -> None:
    given = material()
    settings: dict[str, Any] = {"top_k": 2, **draws}
    first = route(**given, **settings).detached()
    every, divisor = given["mask"], given["mask"].sum(1, keepdim=True).clamp(min=1)
    given["mask"] = every & (torch.arange(5) % 2 == 0)
    given["hidden_states"].requires_grad_()
    before = torch.get_rng_state()
    again = route(**given, **settings, divisor=divisor, recorded=first)
    assert torch.equal(torch.get_rng_state(), before)
    for name in ("prompts", "probabilities", "chosen", "gates", "pooled"):
        torch.testing.assert_close(getattr(again, name), getattr(first, name))

    weights = torch.randn_like(first.pooled)
    (found,) = torch.autograd.grad((again.pooled * weights).sum(), given["hidden_states"])
    whole = route(**given | {"mask": every}, **settings).pooled
    (expected,) = torch.autograd.grad((whole * weights).sum(), given["hidden_states"])
    expected = torch.where(given["mask"][..., None], expected, 0)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_it_computes_in_float32_at_least_under_autocast_too(dtype: torch.dtype) -> None:
    given = material()
    expected = route(**given, top_k=2).prompts
    given["hidden_states"] = given["hidden_states"].to(dtype)
    for name in ("router", "experts", "shared"):
        given[name] = given[name].float()
    with torch.autocast("cpu", torch.bfloat16):
        found = route(**given, top_k=2).prompts
    assert found.dtype == torch.promote_types(dtype, torch.float32)
    bound = 0.05 if dtype == torch.bfloat16 else 1e-5  # what rounding the tokens alone costs
    torch.testing.assert_close(found.double(), expected, atol=bound, rtol=bound)


def test_the_balancing_loss_of_a_uniform_router_is_one() -> None:
    routing = with_logits(torch.zeros(6, 4), 2)
    assert float(balance_loss(routing)) == 1.0


def test_the_balancing_loss_of_a_collapsed_router_is_the_number_of_experts() -> None:
    routing = with_logits(torch.tensor([[50.0, 0.0, 0.0, 0.0]]).expand(6, -1), 1)
    assert float(balance_loss(routing)) == pytest.approx(4.0)


def test_the_balancing_loss_is_experts_times_shares_times_mean_probabilities() -> None:
    logits = torch.tensor([[1.0, 0.0, -1.0], [0.5, 0.2, 0.1], [0.0, 2.0, 0.0]])
    p = logits.softmax(-1).mean(0)
    expected = 3 * (2 / 3 * p[0] + 1 / 3 * p[1])
    torch.testing.assert_close(balance_loss(with_logits(logits, 1)), expected)


def test_the_z_loss_is_the_mean_square_of_the_log_sum_exp() -> None:
    routing = with_logits(torch.tensor([[0.0, 0.0], [1.0, 1.0]]), 1)
    expected = (math.log(2) ** 2 + (1 + math.log(2)) ** 2) / 2
    assert float(z_loss(routing)) == pytest.approx(expected)
