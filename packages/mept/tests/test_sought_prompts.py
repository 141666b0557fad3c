"""The gradient that TokenSeek and prompts have together, and this package's half of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import slow_sought_prompts
from compared import assert_same, leaves
from reference import causal_mask
from replayed_prompts import OwnPasses, TwoPasses
from slow_sought_prompts import kept_rows, mean_of_kept, next_tokens, pooled, sought_loss
from tiny import prompts_of, tiny_batch, tiny_model, tuned
from tokenseek_common.rows import RowSelection

pytestmark = pytest.mark.usefixtures("float64")

BOUND = 1e-10
FAMILIES = ("llama", "qwen3", "gpt2")
families = pytest.mark.parametrize("family", FAMILIES)
paddings = pytest.mark.parametrize("padding", ["left", "right"])

# Of nine, six and four tokens: which are kept, and how many of the first the router sees. Of each
# input it sees kept tokens and others, and the selections differ in length.
KEPT = ("010110010", "001001", "0110")
SEEN = (4, 3, 2)


def placed(rows: tuple[str, ...], mask: Tensor) -> Tensor:
    """Values of the real tokens at their places among the padding."""
    found = torch.zeros_like(mask, dtype=torch.bool)
    for i, values in enumerate(rows):
        found[i, mask[i].bool()] = torch.tensor([value == "1" for value in values])
    return found


class Case:
    """A batch, what is kept and seen of it, and prompts to take gradients of."""

    def __init__(self, family: str, padding: str = "right", **settings: Any) -> None:
        self.model: Any = tuned(tiny_model(family), **settings)
        self.plain = tiny_model(family)
        self.batch = tiny_batch(family, padding)
        mask = self.batch["attention_mask"]
        self.real = mask.bool()
        self.keep = placed(KEPT, mask)
        self.scope = self.real & (mask.cumsum(1) <= torch.tensor(SEEN)[:, None])

    def slow(self, keep: Tensor, **settings: Any) -> tuple[float, dict[str, Tensor]]:
        """The reference's loss and gradients."""
        copies = leaves(prompts_of(self.model))
        loss = sought_loss(self.plain, copies, self.batch, self.scope, keep, **settings)
        return taken(loss, copies)

    def replayed(self, keep: Tensor, **settings: Any) -> tuple[float, dict[str, Tensor]]:
        """Those of two passes."""
        copies = leaves(prompts_of(self.model))
        passes = TwoPasses(self.plain, copies, self.batch, self.scope, **settings)
        return taken(self.loss(passes.logits(keep), RowSelection.of(keep)), copies)

    def loss(self, logits: Tensor, tokens: RowSelection) -> Tensor:
        """L = sum_i (n_i / N) * mean of the kept supervised rows, of the logits of some rows."""
        targets = next_tokens(self.batch["labels"])
        counts = (targets != -100).sum(1)
        rows = zip(logits, tokens.rows(targets), tokens.active, strict=True)
        means = [mean_of_kept(*row) for row in rows]
        return (torch.stack(means) * counts).sum() / counts.sum()

    def dense_loss(self, logits: Tensor) -> Tensor:
        """The same, of the logits of all rows."""
        kept = RowSelection.of(self.keep)
        return self.loss(kept.rows(logits), kept)


def taken(loss: Tensor, leaves: dict[str, Tensor]) -> tuple[float, dict[str, Tensor]]:
    loss.backward()
    return float(loss.detach()), {n: p.grad for n, p in leaves.items() if p.grad is not None}


def difference(found: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    """The largest relative difference of a gradient."""
    errors = [float((found[n] - g).norm() / g.norm()) for n, g in expected.items()]
    assert all(map(math.isfinite, errors)), "a maximum would not show them"
    return max(errors)


@paddings
@families
def test_with_every_token_kept_it_is_the_gradient_of_the_package(family: str, padding: str) -> None:
    case = Case(family, padding)
    loss, gradients = case.slow(case.real)
    output = case.model(**case.batch, routing_mask=case.scope)
    own = prompts_of(case.model)
    found = taken(output.loss, own)
    assert found[0] == pytest.approx(loss, rel=BOUND)
    assert_same(found[1], gradients, BOUND)


@families
def test_without_prompts_it_is_the_dense_gradient_with_keys_and_values_stopped(family: str) -> None:
    """Of all weights of the model, which is called as a whole and stopped by hooks."""
    case = Case(family)
    slow = tiny_model(family)
    sought_loss(slow, {}, case.batch, case.scope, case.keep).backward()

    model: Any = tiny_model(family)
    keep = case.keep[..., None]

    def stop(module: Any, args: Any, output: Tensor) -> Tensor:
        rows = keep if output.ndim == 3 else keep[..., None]
        return torch.where(rows, output, output.detach())

    def stop_fused(module: Any, args: Any, output: Tensor) -> Tensor:
        query, key, value = output.chunk(3, dim=-1)
        return torch.cat([query, stop(module, args, key), stop(module, args, value)], dim=-1)

    last = {"llama": ("k_proj", "v_proj"), "qwen3": ("k_norm", "v_proj"), "gpt2": ("attn.c_attn",)}
    for name, module in model.named_modules():
        if name.endswith(last[family]):
            module.register_forward_hook(stop_fused if family == "gpt2" else stop)
    inputs = {name: value for name, value in case.batch.items() if name != "labels"}
    case.dense_loss(model(**inputs).logits).backward()

    expected = {n: p.grad for n, p in slow.named_parameters() if p.grad is not None}
    found = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    assert found.keys() == expected.keys()
    # A bias of keys has next to no gradient, so that no norm counts as less than this.
    least = 1e-3 * max(float(gradient.norm()) for gradient in expected.values())
    for name, gradient in expected.items():
        error = float((found[name] - gradient).norm())
        assert error < BOUND * max(float(gradient.norm()), least), name


@paddings
@pytest.mark.parametrize("settings", [{}, {"layers": [0, 2]}, {"top_k": 1}], ids=str)
@families
def test_it_is_that_of_the_package_with_tokens_stopped_in_front_of_every_layer(
    family: str, settings: dict[str, Any], padding: str
) -> None:
    """With frozen weights nothing is lost by it: keys, values and pools are made of those tokens.

    So no state of a token that is not kept has a gradient, in any layer.
    """
    case = Case(family, padding, **settings)
    loss, gradients = case.slow(case.keep, k=settings.get("top_k", 2))

    def stop(module: Any, args: Any) -> Any:
        hidden = args[0]
        keep = F.pad(case.keep, (hidden.shape[1] - case.keep.shape[1], 0), value=True)[..., None]
        return (torch.where(keep, hidden, hidden.detach()), *args[1:])

    for name, module in case.model.named_modules():
        if name.endswith(tuple(f"{stack}.{i}" for stack in ("layers", "h") for i in range(3))):
            module.register_forward_pre_hook(stop)
    inputs = {name: value for name, value in case.batch.items() if name != "labels"}
    logits = case.model(**inputs, routing_mask=case.scope).logits
    found = taken(case.dense_loss(logits), prompts_of(case.model))
    assert found[0] == pytest.approx(loss, rel=BOUND)
    assert_same(found[1], gradients, BOUND)


@paddings
@families
def test_a_pass_over_the_kept_rows_alone_gives_it(family: str, padding: str) -> None:
    """With what `RowSelection` says, and the record of a first pass."""
    case = Case(family, padding)
    loss, gradients = case.slow(case.keep)
    found = case.replayed(case.keep)
    assert found[0] == pytest.approx(loss, rel=BOUND)
    assert_same(found[1], gradients, BOUND)


@paddings
@pytest.mark.parametrize("settings", [{}, {"layers": [0, 2]}, {"top_k": 1}], ids=str)
@families
def test_a_model_with_prompts_gives_it_when_it_is_called_for_both_passes(
    family: str, settings: dict[str, Any], padding: str
) -> None:
    case = Case(family, padding, **settings)
    loss, gradients = case.slow(case.keep, k=settings.get("top_k", 2))
    logits = OwnPasses(case.model, case.batch, case.scope).logits(case.keep)
    found = taken(case.loss(logits, RowSelection.of(case.keep)), prompts_of(case.model))
    assert found[0] == pytest.approx(loss, rel=BOUND)
    assert_same(found[1], gradients, BOUND)


def test_types_of_tokens_are_those_of_the_replayed_ones() -> None:
    case = Case("gpt2")
    case.batch["token_type_ids"] = case.batch["input_ids"] % 5
    output = case.model(**case.batch, routing_mask=case.scope)
    loss, gradients = taken(output.loss, prompts_of(case.model))
    gradients = {name: gradient.clone() for name, gradient in gradients.items()}
    case.model.zero_grad()
    logits = OwnPasses(case.model, case.batch, case.scope).logits(case.real)
    found = taken(case.loss(logits, RowSelection.of(case.real)), prompts_of(case.model))
    assert found[0] == pytest.approx(loss, rel=BOUND)
    assert_same(found[1], gradients, BOUND)


def test_a_replay_takes_the_recorded_experts_also_where_others_are_likelier() -> None:
    case = Case("llama")
    drawn = {str(layer): torch.tensor([[0, 1], [2, 3], [1, 3]]) for layer in range(3)}
    routings = [{layer: drawn[str(layer)][i].tolist() for layer in range(3)} for i in range(3)]
    loss, gradients = case.slow(case.keep, routings=routings)
    found = case.replayed(case.keep, chosen=drawn)
    assert found[0] == pytest.approx(loss, rel=BOUND)
    assert_same(found[1], gradients, BOUND)
    assert difference(case.slow(case.keep)[1], gradients) > 0.1


@paddings
def test_the_protocol_says_the_rows_positions_and_masks_of_the_reference(padding: str) -> None:
    case = Case("llama", padding)
    p, (b, n) = 3, case.keep.shape
    rows = RowSelection.of(case.keep).with_prepended(p)
    positions = torch.arange(p + n).expand(b, -1)
    mask = causal_mask(p + n, None)[0].expand(b, -1, -1)
    for i in range(b):
        expected = kept_rows(case.keep[i], p)
        assert torch.equal(rows.selected[i], expected)
        places = expected.nonzero().flatten()
        active = rows.active[i]
        assert rows.slots[i][active].tolist() == places.tolist()
        assert rows.rows(positions)[i][active].tolist() == places.tolist()
        assert torch.equal(rows.rows(mask)[i][active], causal_mask(p + n, None)[0, 0][places])


def from_kept_alone(tokens: Tensor, seen: list[int], keep: Tensor) -> Tensor:
    return pooled(tokens, [i for i in seen if keep[i]], keep)


def with_all_live(tokens: Tensor, seen: list[int], keep: Tensor) -> Tensor:
    return pooled(tokens, seen, torch.ones_like(keep))


def with_prompts_stopped(keep: Tensor, rows: int) -> Tensor:
    return torch.cat([torch.zeros(rows, dtype=torch.bool), keep])


def with_every_row_live(keep: Tensor, rows: int) -> Tensor:
    return torch.ones(rows + len(keep), dtype=torch.bool)


@pytest.mark.parametrize(
    ("name", "mutation"),
    [
        pytest.param("pooled", from_kept_alone, id="routed by the kept tokens alone"),
        pytest.param("pooled", with_all_live, id="the pool's other tokens not stopped"),
        pytest.param("kept_rows", with_prompts_stopped, id="prompt rows stopped"),
        pytest.param("kept_rows", with_every_row_live, id="keys and values not stopped"),
    ],
)
@families
def test_a_change_of_the_definition_is_noticed(
    monkeypatch: pytest.MonkeyPatch, family: str, name: str, mutation: Callable[..., Tensor]
) -> None:
    case = Case(family)
    loss, gradients = case.slow(case.keep)
    monkeypatch.setattr(slow_sought_prompts, name, mutation)
    mutated, found = case.slow(case.keep)
    assert difference(found, gradients) > 1e-3
    # Only what routes by other tokens changes what comes out.
    assert (mutated == loss) is (mutation is not from_kept_alone)
