from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel, get_peft_model_state_dict
from torch import Tensor
from transformers import (
    AutoModel,
    AutoModelForQuestionAnswering,
    AutoModelForTextEncoding,
    AutoModelForTokenClassification,
    Trainer,
    TrainingArguments,
)

import mept._layer
from mept import MeptConfig, balance_loss, route, z_loss
from mept._current import Current, Prompted
from mept._initial import Start
from mept._layer import PromptedBlock
from tiny import FAMILIES, prompts_of, tiny_batch, tiny_model, tuned
from tiny_models import checkpointed, tiny_config

pytestmark = pytest.mark.filterwarnings("ignore:sliding_window:UserWarning")


@pytest.fixture
def routings(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every routing of a test, in order."""
    found: list[Any] = []

    def noted(*args: Any, **kwargs: Any) -> Any:
        found.append(route(*args, **kwargs))
        return found[-1]

    monkeypatch.setattr(mept._layer, "route", noted)
    return found


def step(model: Any, family: str, **changes: Any) -> tuple[float, dict[str, Tensor]]:
    """The loss and the gradients of a step."""
    model.zero_grad()
    loss = model(**tiny_batch(family) | changes).loss
    loss.backward()
    trained = {n: p.grad for n, p in model.named_parameters() if "mept_" in n}
    grads = {n: g.clone() for n, g in trained.items() if g is not None}
    assert grads.keys() == trained.keys()
    return float(loss.detach()), grads


@pytest.mark.parametrize("k", [1, 2])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_trainable_tensor_gets_a_gradient_and_no_other(family: str, k: int) -> None:
    model = tuned(tiny_model(family), num_experts=8, top_k=k)
    _, grads = step(model, family)
    assert len(grads) == 12
    assert all(p.grad is None for n, p in model.named_parameters() if not p.requires_grad)
    assert all(float(g.norm()) > 0 for g in grads.values())


@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_checkpointing_changes_nothing_and_routes_once(
    family: str, reentrant: bool, routings: list[Any]
) -> None:
    model = tuned(tiny_model(family))
    loss, grads = step(model, family)
    routings.clear()
    checkpointed(model.get_base_model(), use_reentrant=reentrant)
    again, found = step(model, family)
    assert len(routings) == 3
    assert again == pytest.approx(loss, rel=1e-12)
    for name, gradient in grads.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("autocast", [True, False], ids=["autocast", "bfloat16"])
def test_half_precision_trains_alike(family: str, autocast: bool) -> None:
    exact = tuned(tiny_model(family), top_k=4)
    base = tiny_model(family).float()
    model = tuned(base if autocast else base.bfloat16(), top_k=4)
    for name, parameter in prompts_of(model).items():
        parameter.data.copy_(prompts_of(exact)[name])
    expected = step(exact, family)[1]
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        found = step(model, family)[1]
    ours, theirs = (
        torch.cat([g.flatten().double() for g in x.values()]) for x in (found, expected)
    )
    assert float(torch.nn.functional.cosine_similarity(ours, theirs, dim=0)) > 0.98
    assert {g.dtype for g in found.values()} == {torch.float32}


@pytest.mark.parametrize("as_tuple", [False, True], ids=["output", "tuple"])
@pytest.mark.parametrize("family", FAMILIES)
def test_what_a_model_returns_has_the_shape_of_the_base_model(family: str, as_tuple: bool) -> None:
    settings = {"output_hidden_states": True, "return_dict": not as_tuple}
    base, batch = tiny_model(family), tiny_batch(family)
    expected = base(**batch, **settings)
    found = tuned(base, cross_attend_prompts=False)(**batch, **settings)
    assert type(found) is type(expected)
    assert shapes(found) == shapes(expected)


@pytest.mark.parametrize("family", ["llama", "gpt2", "t5", "bart", "bert"])
@pytest.mark.parametrize("as_tuple", [False, True], ids=["output", "tuple"])
def test_so_has_what_its_stack_returns(family: str, as_tuple: bool) -> None:
    base, batch = tiny_model(family), tiny_batch(family)
    batch = {n: batch[n] for n in ("input_ids", "attention_mask")}
    stack: Any = base.base_model
    stack = stack.encoder if family in ("t5", "bart") else stack
    settings = {"output_hidden_states": True, "return_dict": not as_tuple}
    expected = stack(**batch, **settings)
    tuned(base, cross_attend_prompts=False, routing_scope="all")
    found = stack(**batch, **settings)
    assert type(found) is type(expected)
    assert shapes(found) == shapes(expected)


def shapes(output: Any) -> Any:
    """The shapes of all tensors, however they are nested."""
    if isinstance(output, Tensor):
        return tuple(output.shape)
    if isinstance(output, dict):
        return {name: shapes(value) for name, value in output.items()}
    return [shapes(value) for value in output] if isinstance(output, tuple) else None


def test_some_hidden_states_may_be_left_out() -> None:
    model = tuned(tiny_model("llama"))
    states = model(**tiny_batch("llama"), output_hidden_states=[1]).hidden_states
    assert states[1].shape[1] == 9  # versions of transformers differ in the others
    assert {s if s is None else s.shape[1] for s in states} <= {None, 9}


def test_a_decoder_sees_the_rows_that_the_encoder_returned() -> None:
    model = tuned(tiny_model("t5"))
    batch = tiny_batch("t5")
    output = model(**batch)
    assert output.encoder_last_hidden_state.shape[1] == 3 + 9
    again = model(**batch, encoder_outputs=(output.encoder_last_hidden_state,))
    assert torch.equal(again.logits, output.logits)


@pytest.mark.parametrize("return_dict", [True, False])
def test_the_losses_of_routers_are_averaged_over_layers_and_added_in_training(
    return_dict: bool, routings: list[Any]
) -> None:
    plain = tuned(tiny_model("llama"))
    model = tuned(tiny_model("llama"), aux_loss_coef=0.3, z_loss_coef=0.1)
    batch = tiny_batch("llama")
    expected = plain(**batch).loss
    routings.clear()
    found = model(**batch, return_dict=return_dict)[0]
    extra = sum(0.3 * balance_loss(r) + 0.1 * z_loss(r) for r in routings) / 3
    torch.testing.assert_close(found, expected + extra)
    found.backward()

    model.eval()
    torch.testing.assert_close(model(**batch, return_dict=return_dict)[0], expected)
    with torch.no_grad():
        torch.testing.assert_close(model.train()(**batch).loss, expected)


@pytest.mark.filterwarnings("ignore:labels:UserWarning")
@pytest.mark.parametrize("masked", [0, 2])
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_the_losses_of_routers_do_not_grow_where_gradients_are_accumulated(
    family: str, masked: int
) -> None:
    """As the Trainer does it: losses are added up, and told how many targets they have together."""
    model = tuned(tiny_model(family), z_loss_coef=0.3)
    ids = torch.randint(3, 61, (4, 6))
    labels = ids.clone()
    labels[:, :masked] = -100
    targets = 4 * (6 - max(masked, 1))  # none is predicted to be the first

    def gradients(rows: int, **said: int) -> Tensor:
        model.zero_grad()
        for inputs, wanted in zip(ids.split(rows), labels.split(rows), strict=True):
            model(input_ids=inputs, labels=wanted, **said).loss.backward()
        grads = [p.grad for p in prompts_of(model).values() if p.grad is not None]
        return torch.cat([grad.flatten() for grad in grads])

    whole = gradients(4)
    for rows in (1, 2, 4):
        found = gradients(rows, num_items_in_batch=targets)
        torch.testing.assert_close(found, whole, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("family", ["t5", "bart", "bert"])
def test_where_the_loss_of_a_head_is_a_mean_all_the_same_so_are_those_of_routers(
    family: str,
) -> None:
    model = tuned(tiny_model(family), z_loss_coef=0.3, aux_loss_coef=0.3)
    batch = tiny_batch(family)
    assert torch.equal(model(**batch, num_items_in_batch=100).loss, model(**batch).loss)


def test_losses_of_routers_without_a_loss_to_add_them_to_are_warned_of() -> None:
    model = tuned(tiny_model("bert"), aux_loss_coef=0.3)
    batch = tiny_batch("bert")
    del batch["labels"]
    with pytest.warns(UserWarning, match="aux_loss_coef") as said:
        model(**batch)
    assert str(said[0].message) == (
        "aux_loss_coef (0.3) and z_loss_coef (0.0) have no effect, since the model was called "
        "without labels and returns no loss"
    )


NOISE: dict[str, dict[str, Any]] = {
    "relative": {"router_noise": 1.0},
    "gumbel": {"gumbel": True, "top_k": 1},
    "dropout": {"prompt_dropout": 0.5},
}


@pytest.mark.parametrize("kind", NOISE)
def test_noise_is_for_training_alone(kind: str) -> None:
    model = tuned(tiny_model("llama"), **NOISE[kind])
    plain = tuned(tiny_model("llama"), top_k=NOISE[kind].get("top_k", 2))
    batch = tiny_batch("llama")
    assert not torch.equal(model(**batch).logits, model(**batch).logits)
    assert torch.equal(model.eval()(**batch).logits, plain(**batch).logits)


@pytest.mark.parametrize("kind", NOISE)
def test_generation_has_no_noise_in_training_mode_either(kind: str) -> None:
    model = tuned(tiny_model("llama"), **NOISE[kind])
    ids = torch.randint(3, 61, (2, 6))
    settings = {"max_new_tokens": 12, "do_sample": False, "return_dict_in_generate": True}

    def scores(**more: Any) -> Tensor:
        found = model.generate(input_ids=ids, output_logits=True, **settings, **more).logits
        return torch.stack(found)

    expected = scores()
    torch.testing.assert_close(scores(use_cache=False), expected)
    model.eval()
    assert torch.equal(scores(), expected)


def test_gates_that_sum_to_one_are_those_of_the_config() -> None:
    routings: list[Any] = []
    model = tuned(tiny_model("llama"), gate_normalize="sum")
    layer = next(m for m in model.modules() if type(m).__name__ == "MeptLayer")
    layer.base_layer.register_forward_pre_hook(
        lambda *_: routings.extend(layer.current.call.routings.values())
    )
    model(**tiny_batch("llama"))
    torch.testing.assert_close(routings[0].gates.sum(1), torch.ones(3, dtype=torch.float64))


def test_a_single_expert_without_a_shared_one_tells_the_router_nothing_in_a_pre_norm_model() -> (
    None
):
    """And enough beside a shared one, or in a post-norm model."""

    def share(family: str, shared: bool) -> float:
        model = tuned(tiny_model(family), top_k=1, shared_expert=shared)
        grads = step(model, family)[1]
        norms = {
            kind: sum(float(g.norm()) for n, g in grads.items() if kind in n)
            for kind in ("router", "experts")
        }
        return norms["router"] / norms["experts"]

    with pytest.warns(UserWarning, match="top_k"):
        assert share("llama", shared=False) < 1e-2 * share("llama", shared=True)
    assert share("bert", shared=False) > 0.01


@pytest.mark.parametrize("family", ["llama", "t5", "bert"])
def test_the_trainer_of_transformers_trains_evaluates_and_saves(
    family: str, tmp_path: Path
) -> None:
    model = tuned(tiny_model(family).float(), aux_loss_coef=0.01)
    batch = tiny_batch(family)
    rows = [{n: v[i % 3] for n, v in batch.items()} for i in range(12)]
    arguments = TrainingArguments(
        output_dir=str(tmp_path),
        max_steps=6,
        per_device_train_batch_size=3,
        gradient_accumulation_steps=2,
        learning_rate=3e-2,
        report_to="none",
        save_steps=6,
        logging_steps=1,
        disable_tqdm=True,
        use_cpu=True,
        dataloader_pin_memory=False,
    )
    trainer = Trainer(model=model, args=arguments, train_dataset=rows, eval_dataset=rows)
    before = trainer.evaluate()["eval_loss"]
    trainer.train()
    after = trainer.evaluate()["eval_loss"]
    assert after < before
    loaded = PeftModel.from_pretrained(tiny_model(family).float(), tmp_path / "checkpoint-6")
    trained = get_peft_model_state_dict(model)
    assert all(torch.equal(v, trained[n]) for n, v in get_peft_model_state_dict(loaded).items())
    loaded.eval()
    model.eval()
    # Not to the bit: where a tensor lies in memory decides which kernel sums it.
    torch.testing.assert_close(loaded(**batch).logits, model(**batch).logits, rtol=1e-5, atol=1e-6)


def test_the_prompts_leaving_the_window_are_warned_of_once() -> None:
    warned: Callable[..., Any] = pytest.warns
    model, batch = tuned(tiny_model("mistral")), tiny_batch("mistral")
    with warned(UserWarning) as said:
        model(**batch)
        model(**batch)
    assert [str(w.message) for w in said] == [
        "sliding_window (7) is shorter than the 3 prompt rows and the tokens (12 rows): in the "
        "layers that have it, later tokens do not see the prompts, sooner so behind padding on "
        "the left"
    ]
    model = tuned(tiny_model("mistral", sliding_window=12))
    ids = batch["input_ids"][:1]
    with warned(UserWarning, match="13 rows"):
        model.generate(input_ids=ids, max_new_tokens=2, min_new_tokens=2)


def test_prompts_out_of_the_window_are_without_effect() -> None:
    """Two layers with a window of four: from token six on nothing is left of the prompts."""
    settings: dict[str, Any] = {"sliding_window": 4, "num_hidden_layers": 2}
    one, other = (tuned(tiny_model("mistral", **settings)) for _ in range(2))
    for parameter in prompts_of(other).values():
        parameter.data.add_(1.0)
    batch = {n: v[:1] for n, v in tiny_batch("mistral").items()}
    first, second = one(**batch).logits[0], other(**batch).logits[0]
    assert torch.equal(first[6:], second[6:])
    assert not torch.equal(first[5], second[5])


def test_a_pass_that_fails_says_why_and_leaves_nothing_behind() -> None:
    model, batch = tuned(tiny_model("llama"), aux_loss_coef=0.3), tiny_batch("llama")
    expected = model(**batch).loss
    norm = model.get_base_model().model.norm
    handle = norm.register_forward_pre_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        model(**batch)
    handle.remove()
    assert torch.equal(model(**batch).loss, expected)


@pytest.mark.parametrize("family", ["t5", "bart"])
def test_states_that_do_not_fit_the_mask_are_not_made_to(family: str) -> None:
    model, batch = tuned(tiny_model(family)), tiny_batch(family)
    states = model(**batch).encoder_last_hidden_state
    with pytest.raises(RuntimeError, match="size"):
        model(**batch, encoder_outputs=(states[:, 1:],))


def test_a_block_can_be_wrapped_without_peft() -> None:
    current = Current()
    block = PromptedBlock(torch.nn.Linear(8, 8, bias=False), current, "block")
    tokens = torch.randn(2, 5, 8)
    names = [block.active]
    block.add_prompts("own", MeptConfig(num_virtual_tokens=2, top_k=2), 8, Start())
    assert [*names, block.active] == [None, "own"]
    assert block.out_features == 8  # what the model asks of its block
    assert torch.equal(block(tokens), block.base_layer(tokens))  # no stack runs

    mask = torch.ones(2, 3, dtype=torch.bool)
    current.prompted = Prompted(2, mask, divisor=torch.full((2, 1), 3))
    parameters = (block.mept_router["own"], block.mept_experts["own"], block.mept_shared["own"])
    scale = block.mept_router_scale["own"]
    routing = route(tokens[:, 2:], mask, *parameters, top_k=2, log_scale=scale)
    expected = block.base_layer(torch.cat([routing.prompts, tokens[:, 2:]], dim=1))
    assert torch.equal(block(tokens), expected)
    assert not hasattr(PromptedBlock.__new__(PromptedBlock), "base_layer")


HEADS: list[tuple[str, Any]] = [
    *[(family, AutoModel) for family in ("llama", "gpt2", "t5", "bart", "bert")],
    *[(f, AutoModelForQuestionAnswering) for f in ("llama", "gpt2", "t5", "bart", "bert")],
    *[(family, AutoModelForTokenClassification) for family in ("llama", "gpt2", "t5", "bert")],
    ("t5", AutoModelForTextEncoding),
]


@pytest.mark.parametrize(("family", "head"), HEADS)
def test_any_head_works_and_returns_what_it_did(family: str, head: Any) -> None:
    base = head.from_config(tiny_config(family, num_labels=2)).double().eval()
    batch = {n: v for n, v in tiny_batch(family).items() if n in ("input_ids", "attention_mask")}
    if base.config.is_encoder_decoder and head is AutoModel:
        batch["decoder_input_ids"] = batch["input_ids"][:, :2]
    expected = base(**batch)
    tuned(base, "FEATURE_EXTRACTION", routing_scope="all", cross_attend_prompts=False)
    found = base(**batch)
    assert shapes(found) == shapes(expected)
    assert not torch.equal(found[0], expected[0])
