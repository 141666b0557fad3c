from __future__ import annotations

import math

import peft
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from exact import BOUND, exact_model
from families import tiny_batch, tiny_model
from slow_inject import slow_inject
from slow_reference import gradients, relative_error
from taken import always, kept, take_step
from tiny_models import VOCABULARY, checkpointed
from tokenseek_common.memory import ledger, saved_for_backward
from tokenseek_core import Signals, TokenSeekConfig, apply_tokenseek


def inject(ratio: float = 0.3, **settings: object) -> TokenSeekConfig:
    return always(ratio, gradient="inject", **settings)


@pytest.fixture
def llama(monkeypatch: pytest.MonkeyPatch) -> PreTrainedModel:
    return exact_model(monkeypatch, "llama-tied")


def assert_injected(
    model: PreTrainedModel, batch: dict[str, Tensor], config: TokenSeekConfig
) -> None:
    taken = take_step(model, batch, config)
    checkpointed(model, enable=False)
    loss = slow_inject(model, batch, taken.keep, exact_blocks=config.exact_blocks)
    assert taken.loss == pytest.approx(loss.item(), rel=BOUND)
    assert relative_error(taken.gradients, gradients(model)) < BOUND


@pytest.mark.parametrize("checkpointing", [False, True], ids=["plain", "checkpointing"])
@pytest.mark.parametrize("exact_blocks", [1, 2])
@pytest.mark.parametrize("family", ["llama", "llama-tied", "gpt2"])
def test_gradient_equals_the_slow_reference(
    monkeypatch: pytest.MonkeyPatch, family: str, exact_blocks: int, checkpointing: bool
) -> None:
    model = checkpointed(exact_model(monkeypatch, family), enable=checkpointing)
    assert_injected(model, tiny_batch("left"), inject(exact_blocks=exact_blocks))


@pytest.mark.parametrize(
    "selector", ["random", "context", "gradient", "loss", "quota", "saliency", "product"]
)
def test_every_selector_injects(llama: PreTrainedModel, selector: str) -> None:
    assert_injected(llama, tiny_batch("right"), inject(selector=selector))


@pytest.mark.parametrize("padding", ["none", "left", "right"])
@pytest.mark.parametrize("family", ["llama", "llama-tied", "qwen3", "mistral", "gpt2"])
def test_keeping_every_token_equals_the_untouched_model(
    monkeypatch: pytest.MonkeyPatch, family: str, padding: str
) -> None:
    model = exact_model(monkeypatch, family)
    batch = tiny_batch(padding)
    logits = model(**{name: value for name, value in batch.items() if name != "labels"}).logits
    dense = F.cross_entropy(logits[:, :-1].flatten(0, 1), batch["labels"][:, 1:].flatten())
    dense.backward()
    expected = gradients(model)
    taken = take_step(model, batch, inject(1.0))
    assert taken.loss == pytest.approx(dense.item(), rel=BOUND)
    assert relative_error(taken.gradients, expected) < BOUND


def test_loss_is_the_dense_one_whatever_is_kept(llama: PreTrainedModel) -> None:
    batch = tiny_batch("right")
    dense = llama(**batch).loss.item()
    for selector in ("random", "context"):
        assert take_step(llama, batch, inject(0.1, selector=selector)).loss == pytest.approx(dense)


def test_a_scaled_loss_scales_every_gradient(llama: PreTrainedModel) -> None:
    batch = tiny_batch()
    once = take_step(llama, batch, inject())
    with apply_tokenseek(llama, inject()):
        (llama(**batch).loss * 1024).backward()
    expected = {n: 1024 * g for n, g in once.gradients.items()}
    assert relative_error(gradients(llama), expected) < BOUND


def test_one_batch_equals_its_accumulated_instances(llama: PreTrainedModel) -> None:
    batch = tiny_batch("right")
    items = int((batch["labels"][:, 1:] != -100).sum())
    together = take_step(llama, batch, inject())
    with apply_tokenseek(llama, inject()) as handle:
        for row in range(3):
            one = {name: value[row : row + 1] for name, value in batch.items()}
            llama(**one, num_items_in_batch=items).loss.backward()
            assert torch.equal(kept(handle, one["labels"].shape)[0], together.keep[row])
    assert relative_error(gradients(llama), together.gradients) < BOUND


@pytest.mark.parametrize("checkpointing", [False, True], ids=["plain", "checkpointing"])
def test_two_forwards_may_come_before_one_backward(
    llama: PreTrainedModel, checkpointing: bool
) -> None:
    first, second = tiny_batch("left", seed=1), tiny_batch("right", seed=2)
    checkpointed(llama, enable=checkpointing)
    one, two = take_step(llama, first, inject()), take_step(llama, second, inject())
    with apply_tokenseek(llama, inject()):
        (llama(**first).loss + llama(**second).loss).backward()
    expected = {n: one.gradients[n] + two.gradients[n] for n in one.gradients}
    assert relative_error(gradients(llama), expected) < BOUND


def test_backward_twice_through_one_graph_doubles_the_gradient(llama: PreTrainedModel) -> None:
    batch = tiny_batch()
    once = take_step(llama, batch, inject())
    with apply_tokenseek(llama, inject()):
        loss = llama(**batch).loss
        loss.backward(retain_graph=True)
        loss.backward()
    doubled = {n: 2 * g for n, g in once.gradients.items()}
    assert relative_error(gradients(llama), doubled) < BOUND


def test_backward_may_come_after_the_model_is_released(llama: PreTrainedModel) -> None:
    batch = tiny_batch()
    expected = take_step(llama, batch, inject())
    with apply_tokenseek(llama, inject()):
        loss = llama(**batch).loss
    loss.backward()
    assert relative_error(gradients(llama), expected.gradients) < BOUND


@pytest.mark.parametrize("logits", [True, False], ids=["logits", "chunks"])
@pytest.mark.parametrize("gradient", ["restart", "inject"])
def test_adapters_on_the_head_get_their_gradient(
    monkeypatch: pytest.MonkeyPatch, gradient: str, logits: bool
) -> None:
    monkeypatch.setattr("tokenseek_core._chunks.MOST_ON_HOST", 7 * 8 * VOCABULARY)
    model = exact_model(monkeypatch)
    torch.manual_seed(0)
    lora = peft.LoraConfig(r=4, target_modules=["q_proj", "lm_head"], init_lora_weights=False)
    wrapped = peft.get_peft_model(model, lora).double()
    batch = tiny_batch("right")
    dense = wrapped(**batch).loss
    dense.backward()
    expected = gradients(wrapped)
    taken = take_step(wrapped, batch, always(1.0, gradient=gradient, logits=logits))
    assert any("lm_head" in name for name in taken.gradients)
    assert relative_error(taken.gradients, expected) < BOUND


@pytest.mark.parametrize("family", ["llama", "llama-tied", "gpt2"])
def test_a_loss_in_chunks_is_the_same_as_without(
    monkeypatch: pytest.MonkeyPatch, family: str
) -> None:
    monkeypatch.setattr("tokenseek_core._chunks.MOST_ON_HOST", 4 * 8 * VOCABULARY)
    model = exact_model(monkeypatch, family)
    batch = tiny_batch("left")
    whole, chunks = (take_step(model, batch, always(logits=wanted)) for wanted in (True, False))
    assert chunks.loss == pytest.approx(whole.loss, rel=BOUND)
    assert relative_error(chunks.gradients, whole.gradients) < BOUND
    with apply_tokenseek(model, always(logits=False)):
        assert model(**batch).logits is None


@pytest.mark.parametrize("family", ["llama", "llama-tied"])
def test_frozen_parts_get_no_gradient_and_the_others_theirs(
    monkeypatch: pytest.MonkeyPatch, family: str
) -> None:
    model = exact_model(monkeypatch, family)
    batch = tiny_batch("right")
    for freeze in ("layers.2", "embed_tokens", "norm", "layers.0", "lm_head"):
        model.requires_grad_(True)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(freeze not in name)
        assert_injected(model, batch, inject())


@pytest.mark.parametrize("family", ["llama", "llama-tied", "gpt2"])
def test_under_autocast_every_parameter_gets_its_gradient(family: str) -> None:
    model = tiny_model(family).float()
    batch = tiny_batch("right")
    full = take_step(model, batch, inject())

    def same(signals: Signals) -> Tensor:
        return full.keep.float()

    with apply_tokenseek(model, inject(selector=same)):
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(**batch).loss
        loss.backward()  # outside, as trainers do
    rounded = gradients(model)
    assert rounded.keys() == full.gradients.keys()
    for name, gradient in rounded.items():
        exact = full.gradients[name]
        if exact.abs().max() > 1e-6:
            assert F.cosine_similarity(gradient.flatten(), exact.flatten(), dim=0) > 0.97, name


def test_dropout_in_exact_blocks_draws_the_same_numbers_again(llama: PreTrainedModel) -> None:
    """The loss was computed from the first draw; so must the gradient be."""
    last = llama.get_submodule("model.layers.2.mlp")
    last.register_forward_hook(lambda module, args, output: F.dropout(output, 0.5))
    batch = tiny_batch()
    weight = llama.get_parameter("model.layers.2.mlp.down_proj.weight")
    config = inject(selector="random", check=False)

    def dropped() -> Tensor:
        torch.manual_seed(11)
        with apply_tokenseek(llama, config):
            value: Tensor = llama(**batch).loss
        return value

    dropped().backward()
    assert weight.grad is not None
    direction, step = torch.randn_like(weight), 1e-6
    slope = float((weight.grad * direction).sum())
    values = []
    for sign in (1, -1):
        weight.data.add_(direction, alpha=sign * step)
        values.append(dropped().item())
        weight.data.add_(direction, alpha=-sign * step)
    assert slope == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-5)


def wide_head() -> tuple[PreTrainedModel, dict[str, Tensor]]:
    """A tied model whose vocabulary outweighs its blocks."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=4096,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=6,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=True,
    )
    ids = torch.randint(3, 4096, (2, 64))
    model = LlamaForCausalLM(config)
    model.train()
    return model, {"input_ids": ids, "labels": ids}


@pytest.mark.parametrize("selector", ["random", "product"])
def test_nothing_large_lies_between_forward_and_backward(selector: str) -> None:
    model, batch = wide_head()
    with apply_tokenseek(model, inject(0.1, selector=selector)):
        with saved_for_backward(model) as reading:
            loss = model(**batch, use_cache=False).loss
        assert loss.requires_grad
    table = model.get_input_embeddings().weight
    assert isinstance(table, Tensor)
    assert reading.report.live < table.nbytes


def test_the_step_works_in_less_than_dense_and_has_one_gradient_table(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tokenseek_core._chunks.MOST_ON_HOST", 8 * 4 * 4096)
    model, batch = wide_head()
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)

    def working() -> int:
        for _ in range(2):
            with ledger(model, optimizer) as reading:
                model(**batch, use_cache=False).loss.backward()
                optimizer.step()
                optimizer.zero_grad()
        assert reading.report.working is not None
        return reading.report.working

    dense = working()
    with apply_tokenseek(model, inject(0.1)):
        ours = working()
    assert ours < 0.6 * dense


def test_as_many_exact_blocks_as_there_are_leave_nothing_to_replay() -> None:
    model = tiny_model("llama")
    text = r"exact_blocks \(3\) must be below the model's 3 blocks; 1 costs the least"
    with apply_tokenseek(model, inject(exact_blocks=3)), pytest.raises(ValueError, match=text):
        model(**tiny_batch())


def test_report_says_what_was_kept_and_recorded() -> None:
    model = tiny_model("llama")
    batch = tiny_batch("right")
    with apply_tokenseek(model, inject(0.1)) as handle:
        output = model(**batch)
        assert output.logits is None
        keep = kept(handle, batch["labels"].shape)
    assert keep.sum(1).tolist() == [math.ceil(0.1 * n) for n in (20, 13, 7)]
    assert handle.last is not None
    assert handle.last.kept_bytes == 2 * 2 * 3 * 20 * 16 * 8  # keys and values of two blocks


def test_no_supervised_token_gives_a_loss_and_gradients_of_zero(llama: PreTrainedModel) -> None:
    batch = tiny_batch()
    batch["labels"].fill_(-100)
    with pytest.warns(UserWarning, match=r"labels \(all -100\) have nothing to learn from"):
        taken = take_step(llama, batch, inject())
    assert taken.loss == 0
    assert all(torch.equal(g, torch.zeros_like(g)) for g in taken.gradients.values())


def test_embeddings_given_from_outside_leave_a_tied_head_its_gradient(
    llama: PreTrainedModel,
) -> None:
    batch = tiny_batch()
    embedding = llama.get_input_embeddings()
    assert isinstance(embedding, nn.Module)
    given = embedding(batch["input_ids"]).detach()
    llama(inputs_embeds=given, labels=batch["labels"]).loss.backward()
    dense = gradients(llama)
    for config in (always(1.0), always(1.0, logits=False), inject(1.0)):
        taken = take_step(llama, {"inputs_embeds": given, "labels": batch["labels"]}, config)
        assert relative_error(taken.gradients, dense) < BOUND


@pytest.mark.parametrize("family", ["llama", "llama-tied"])
def test_hooks_on_the_heads_weight_see_its_whole_gradient_once(family: str) -> None:
    model = tiny_model(family)
    head = model.get_output_embeddings()
    assert head is not None
    seen: list[Tensor] = []
    head.weight.register_hook(seen.append)
    taken = take_step(model, tiny_batch(), inject())
    name = "lm_head.weight" if family == "llama" else "model.embed_tokens.weight"
    (gradient,) = seen
    assert torch.equal(gradient, taken.gradients[name])
