from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedModel

from families import FAMILIES, tiny_batch, tiny_model
from float64 import spare_float64
from slow_reference import gradients, relative_error, slow_loss
from taken import always, kept, take_step
from tiny_models import checkpointed
from tokenseek_core import Signals, TokenSeekConfig, apply_tokenseek

BOUND = 1e-10


@pytest.fixture
def llama(monkeypatch: pytest.MonkeyPatch) -> PreTrainedModel:
    model = tiny_model("llama-tied")
    spare_float64(monkeypatch)
    return model


def assert_equals_reference(
    model: PreTrainedModel, batch: dict[str, Tensor], config: TokenSeekConfig
) -> None:
    taken = take_step(model, batch, config)
    checkpointed(model, enable=False)
    reference = slow_loss(model, batch, taken.keep)
    reference.backward()
    assert taken.loss == pytest.approx(reference.item(), rel=BOUND)
    assert relative_error(taken.gradients, gradients(model)) < BOUND


@pytest.mark.parametrize("selector", ["tokenseek", "random"])
@pytest.mark.parametrize("padding", ["none", "left", "right"])
@pytest.mark.parametrize("checkpointing", [False, True], ids=["plain", "checkpointing"])
def test_gradient_equals_the_slow_reference(
    llama: PreTrainedModel, selector: str, padding: str, checkpointing: bool
) -> None:
    checkpointed(llama, enable=checkpointing)
    assert_equals_reference(llama, tiny_batch(padding), always(selector=selector))


@pytest.mark.parametrize("padding", ["none", "left", "right"])
def test_eager_models_replay_through_their_own_attention(
    monkeypatch: pytest.MonkeyPatch, padding: str
) -> None:
    model = tiny_model("gpt2")  # its eager softmax keeps the dtype; Llama's rounds to float32
    spare_float64(monkeypatch)
    model.set_attn_implementation("eager")
    assert_equals_reference(model, tiny_batch(padding), always())


def test_embeddings_given_from_outside_get_the_gradient_of_their_rows(
    llama: PreTrainedModel,
) -> None:
    batch = tiny_batch()
    taken = take_step(llama, batch, always())
    embeddings = llama.get_input_embeddings()(batch["input_ids"]).detach().requires_grad_()
    assert isinstance(embeddings, Tensor)
    take_step(llama, {"inputs_embeds": embeddings, "labels": batch["labels"]}, always())
    assert embeddings.grad is not None
    assert torch.equal(embeddings.grad.abs().sum(-1) > 0, taken.keep)


@pytest.mark.parametrize("checkpointing", [False, True], ids=["plain", "checkpointing"])
def test_two_forwards_may_come_before_one_backward(
    llama: PreTrainedModel, checkpointing: bool
) -> None:
    first, second = tiny_batch("left", seed=1), tiny_batch("right", seed=2)
    checkpointed(llama, enable=checkpointing)
    one, two = take_step(llama, first, always()), take_step(llama, second, always())
    with apply_tokenseek(llama, always()):
        (llama(**first).loss + llama(**second).loss).backward()
    expected = {n: one.gradients[n] + two.gradients[n] for n in one.gradients}
    assert relative_error(gradients(llama), expected) < BOUND


def test_backward_twice_through_one_graph_doubles_the_gradient(llama: PreTrainedModel) -> None:
    batch = tiny_batch()
    once = take_step(llama, batch, always())
    with apply_tokenseek(llama, always()):
        loss = llama(**batch).loss
        loss.backward(retain_graph=True)
        loss.backward()
    doubled = {n: 2 * g for n, g in once.gradients.items()}
    assert relative_error(gradients(llama), doubled) < BOUND


@pytest.mark.parametrize("selector", ["tokenseek", "random"])
def test_one_batch_of_eight_equals_eight_accumulated_batches_of_one(
    llama: PreTrainedModel, selector: str
) -> None:
    lengths = [20, 17, 13, 11, 9, 8, 7, 6]
    torch.manual_seed(3)
    ids = torch.randint(3, 61, (8, 20))
    mask = (torch.arange(20) < torch.tensor(lengths)[:, None]).long()
    labels = ids.masked_fill(mask == 0, -100)
    labels[:, :4] = -100
    items = int((labels[:, 1:] != -100).sum())
    config = always(selector=selector)

    torch.manual_seed(4)
    together = take_step(
        llama,
        {"input_ids": ids, "attention_mask": mask, "labels": labels, "num_items_in_batch": items},
        config,
    )
    torch.manual_seed(4)
    loss = 0.0
    with apply_tokenseek(llama, config) as handle:
        for row, length in enumerate(lengths):  # each without its padding
            one = (slice(row, row + 1), slice(0, length))
            part = llama(input_ids=ids[one], labels=labels[one], num_items_in_batch=items).loss
            part.backward()
            loss += part.item()
            assert torch.equal(kept(handle, labels[one].shape)[0], together.keep[row, :length])

    assert loss == pytest.approx(together.loss, rel=BOUND)
    assert relative_error(gradients(llama), together.gradients) < BOUND


def test_a_batch_equals_its_instances_weighted_by_their_supervised_tokens(
    llama: PreTrainedModel,
) -> None:
    batch = tiny_batch("right")
    together = take_step(llama, batch, always())
    counts = (batch["labels"][:, 1:] != -100).sum(1)
    expected = {n: torch.zeros_like(g) for n, g in together.gradients.items()}
    for row, weight in enumerate(counts / counts.sum()):
        alone = take_step(llama, {n: v[row : row + 1] for n, v in batch.items()}, always())
        assert torch.equal(alone.keep[0], together.keep[row])
        for name, gradient in alone.gradients.items():
            expected[name] += float(counts[row]) / float(counts.sum()) * gradient
        assert float(weight) > 0
    assert relative_error(together.gradients, expected) < BOUND


def test_no_supervised_token_kept_gives_a_finite_loss_and_zero_gradients(
    llama: PreTrainedModel,
) -> None:
    def unsupervised_first(signals: Signals) -> Tensor:
        return (signals.targets == -100).double()

    config = always(ratio=0.1, selector=unsupervised_first, min_supervised=0)
    taken = take_step(llama, tiny_batch(), config)
    assert taken.keep.sum() == 6
    assert taken.loss == 0
    assert all(torch.equal(g, torch.zeros_like(g)) for g in taken.gradients.values())


def test_a_batch_without_any_supervised_token_gives_zero_gradients(llama: PreTrainedModel) -> None:
    batch = tiny_batch()
    batch["labels"].fill_(-100)
    with pytest.warns(UserWarning, match=r"labels \(all -100\) have nothing to learn from"):
        taken = take_step(llama, batch, always())
    assert taken.loss == 0
    assert all(torch.equal(g, torch.zeros_like(g)) for g in taken.gradients.values())


def test_directional_derivative_matches_finite_differences_of_the_reference(
    llama: PreTrainedModel,
) -> None:
    """With keys and values of unselected tokens frozen at their values, the gradient is a true one.

    All of a perturbed token's own computation may change, so only the last block's output side is
    perturbed: there, no unselected key or value depends on the parameter.
    """
    batch = tiny_batch()
    taken = take_step(llama, batch, always())
    name = "model.layers.2.mlp.down_proj.weight"
    weight = llama.get_parameter(name)
    torch.manual_seed(5)
    direction, h = torch.randn_like(weight), 1e-5
    losses = []
    with torch.no_grad():
        for sign in (1, -1):
            weight.add_(direction, alpha=sign * h)
            losses.append(float(slow_loss(llama, batch, taken.keep)))
            weight.add_(direction, alpha=-sign * h)
    numeric = (losses[0] - losses[1]) / (2 * h)
    assert float((taken.gradients[name] * direction).sum()) == pytest.approx(numeric, rel=1e-7)


def test_kept_tokens_are_a_tenth_rounded_up_of_each_instance(llama: PreTrainedModel) -> None:
    batch = tiny_batch("left")
    taken = take_step(llama, batch, TokenSeekConfig(ratio=0.1))
    lengths = batch["attention_mask"].sum(1).tolist()
    assert taken.keep.sum(1).tolist() == [math.ceil(0.1 * n) for n in lengths]
    assert not (taken.keep & ~batch["attention_mask"].bool()).any()


@pytest.mark.parametrize("family", FAMILIES)
def test_under_autocast_every_parameter_gets_its_gradient(family: str) -> None:
    """Autocast caches cast weights; those of the pass without gradient must not be used again."""
    model = tiny_model(family).float()
    batch = tiny_batch("right")
    full = take_step(model, batch, always())
    with torch.autocast("cpu", torch.bfloat16):
        rounded = take_step(model, batch, always(selector=lambda signals: full.keep.float()))
    assert torch.equal(rounded.keep, full.keep)
    assert rounded.gradients.keys() == full.gradients.keys()
    ours, exact = (torch.cat([g.flatten() for g in t.gradients.values()]) for t in (rounded, full))
    assert F.cosine_similarity(ours, exact, dim=0) > 0.99
