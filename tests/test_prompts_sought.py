"""TokenSeek on a model with prompts, in one step, held to the slow reference of both."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import Tensor

from compared import assert_same, leaves
from float64 import spare_float64
from mept import record_routing
from slow_sought_prompts import injected_loss, sought_loss
from tiny import prompts_of, tiny_batch, tiny_model, tuned
from tiny_models import checkpointed
from tokenseek_core import TokenSeekConfig, TokenSeekHandle, apply_tokenseek

torch.set_num_threads(1)

BOUND = 1e-10
SEEN = torch.tensor([4, 3, 2])  # of nine, six and four tokens, the router sees the first

families = pytest.mark.parametrize("family", ["llama", "qwen3", "gpt2"])
gradients = pytest.mark.parametrize("gradient", ["restart", "inject"])


@pytest.fixture(autouse=True)
def _float64(monkeypatch: pytest.MonkeyPatch) -> None:
    spare_float64(monkeypatch)


def placed(handle: TokenSeekHandle, like: Tensor, values: Tensor) -> Tensor:
    """Values of the kept tokens at their places, zero elsewhere."""
    assert handle.last is not None
    rows = torch.where(handle.last.active, values, torch.zeros_like(values))
    return torch.zeros_like(like, dtype=values.dtype).scatter(1, handle.last.indices, rows)


def grads(model: Any) -> dict[str, Tensor]:
    """The gradients of its prompts."""
    return {n: p.grad for n, p in prompts_of(model).items() if p.grad is not None}


def assert_exact(
    family: str = "llama",
    padding: str = "right",
    gradient: str = "restart",
    *,
    selector: str = "gradient",
    checkpointing: bool | None = None,
    positions: bool = True,
    prepare: Callable[[Any], None] = lambda model: None,
    trained: str = "mept_",
    seek: Mapping[str, Any] = {},
    **settings: Any,
) -> None:
    """Hold loss and gradients of a step to the reference.

    `checkpointing` is reentrant or not; `prepare` changes the base model, of which weights with
    `trained` in their names are trained beside the prompts; `seek` are TokenSeek's other settings.
    """
    base, plain = tiny_model(family), tiny_model(family)
    prepare(base)
    prepare(plain)
    model = tuned(base, **settings)
    for name, weight in [*base.named_parameters(), *plain.named_parameters()]:
        weight.requires_grad_(trained in name or "mept_" in name)
    batch = tiny_batch(family, padding)
    if not positions:
        del batch["position_ids"]
    mask = batch["attention_mask"]
    scope = mask.bool() & (mask.cumsum(1) <= SEEN[:, None])
    if checkpointing is not None:
        checkpointed(model.get_base_model(), use_reentrant=checkpointing)
        model.enable_input_require_grads()
    config: Any = {"ratio": 0.4, "selector": selector, "gradient": gradient, **seek}
    with apply_tokenseek(model, TokenSeekConfig(**config)) as handle:
        loss = model(**batch, routing_mask=scope).loss
        loss.backward()
    assert handle.last is not None
    keep = placed(handle, mask, handle.last.active)
    importance = placed(handle, mask, handle.last.importance)
    assert 0 < keep.sum() < mask.sum()
    assert (keep & scope).any()

    copies = leaves(prompts_of(model))
    k = settings.get("top_k", 2)
    if gradient == "inject":
        expected, stand_in = injected_loss(plain, copies, batch, scope, keep, k, importance)
    else:
        expected = stand_in = sought_loss(plain, copies, batch, scope, keep, k)
    stand_in.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=BOUND)
    assert_same(grads(model), {n: p.grad for n, p in copies.items() if p.grad is not None}, BOUND)
    beside = [
        {
            n.replace(".base_layer", ""): p.grad
            for n, p in each.named_parameters()
            if p.grad is not None and "mept_" not in n
        }
        for each in (base, plain)
    ]
    assert_same(beside[0], beside[1], BOUND)
    assert all(trained in name for name in beside[0])


@gradients
@pytest.mark.parametrize("padding", ["left", "right"])
@families
def test_its_gradient_is_that_of_the_slow_reference(
    family: str, padding: str, gradient: str
) -> None:
    assert_exact(family, padding, gradient)


@gradients
@pytest.mark.parametrize(("family", "padding"), [("llama", "left"), ("gpt2", "right")])
def test_so_it_is_with_positions_that_the_model_counts(
    family: str, padding: str, gradient: str
) -> None:
    assert_exact(family, padding, gradient, positions=False)


@gradients
@pytest.mark.parametrize("checkpointing", [True, False], ids=["reentrant", "not reentrant"])
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_so_it_is_under_checkpointing(family: str, checkpointing: bool, gradient: str) -> None:
    assert_exact(family, gradient=gradient, checkpointing=checkpointing)


@gradients
@pytest.mark.parametrize(
    "settings",
    [{"layers": [0]}, {"layers": [0, 2]}, {"top_k": 1}, {"shared_expert": False}],
    ids=str,
)
def test_so_it_is_for_other_prompts(settings: dict[str, Any], gradient: str) -> None:
    """Where a layer carries the rows of the one before on, they are kept there too."""
    assert_exact(gradient=gradient, **settings)


@pytest.mark.parametrize("selector", ["sampled", "tokenseek", "quota", "saliency", "loss"])
def test_so_it_is_for_whichever_tokens_are_kept(selector: str) -> None:
    gradient = "inject" if selector == "sampled" else "restart"
    assert_exact(gradient=gradient, selector=selector)


@gradients
def test_so_it_is_where_all_that_carries_the_loss_is_kept(gradient: str) -> None:
    seek = {"answer_ratio": 1.0, "ratio": 0.2, "logits": False, "dense_above": None}
    assert_exact(gradient=gradient, selector="random", seek=seek)


def add_lora(model: Any) -> None:
    torch.manual_seed(5)
    inject_adapter_in_model(LoraConfig(target_modules="all-linear", init_lora_weights=False), model)
    model.double()


# Both are peft's, of adapters of two methods in one model.
@pytest.mark.filterwarnings("ignore:You are trying to modify a model:UserWarning")
@pytest.mark.filterwarnings("ignore:Already found a `peft_config`:UserWarning")
@gradients
def test_lora_trained_beside_the_prompts_gets_the_gradient_of_the_reference(gradient: str) -> None:
    assert_exact(gradient=gradient, prepare=add_lora, trained="lora_")


@gradients
def test_so_do_all_weights_of_the_model(gradient: str) -> None:
    assert_exact("qwen3", gradient=gradient, trained="")


DRAWS: dict[str, dict[str, Any]] = {
    "noise": {"router_noise": 1.0},
    "gumbel": {"gumbel": True, "top_k": 1},
    "dropout": {"prompt_dropout": 0.5},
}


def step(model: Any, **settings: Any) -> tuple[float, dict[str, Tensor]]:
    """Take a step by the random selector from a seed, without TokenSeek where nothing is set."""
    torch.manual_seed(3)
    batch = tiny_batch("llama")
    model.zero_grad()
    if settings:
        config: Any = {"selector": "random", "dense_above": None, "check": False} | settings
        with apply_tokenseek(model, TokenSeekConfig(**config)):
            loss = model(**batch).loss
    else:
        loss = model(**batch).loss
    loss.backward()
    return loss.item(), grads(model)


@gradients
@pytest.mark.parametrize("kind", DRAWS)
def test_the_replay_repeats_what_the_recorded_pass_drew(kind: str, gradient: str) -> None:
    """With every token kept it is the dense step of the same draws."""
    model = tuned(tiny_model("llama"), **DRAWS[kind])
    loss, expected = step(model)
    found = step(model, ratio=1.0, gradient=gradient)
    assert found[0] == pytest.approx(loss, rel=BOUND)
    assert_same(found[1], expected, BOUND)
    assert step(tuned(tiny_model("llama"), top_k=DRAWS[kind].get("top_k", 2)))[0] != loss


@gradients
def test_losses_of_routers_reach_routers_and_kept_tokens(gradient: str) -> None:
    """Those of the exact block end at its input, as everything but the model's loss does."""
    config: Any = {"ratio": 0.4, "gradient": gradient}
    losses: dict[str, Any] = {"aux_loss_coef": 0.3, "z_loss_coef": 0.1}
    pairs = [(tuned(tiny_model("llama")), tuned(tiny_model("llama"), **losses)) for _ in range(2)]
    found = [step(model, **config) for model in pairs[0]]

    with apply_tokenseek(pairs[0][0], TokenSeekConfig(**config, selector="random")) as handle:
        torch.manual_seed(3)
        pairs[0][0](**tiny_batch("llama"))
    assert handle.last is not None
    mask = tiny_batch("llama")["attention_mask"]
    keep = placed(handle, mask, handle.last.active)

    def stop(block: Any, args: Any) -> Any:
        kept = torch.zeros_like(keep) if gradient == "inject" and block.name.endswith("2") else keep
        rows = torch.cat([torch.ones(3, 3, dtype=torch.bool), kept], dim=1)[..., None]
        return (torch.where(rows, args[0], args[0].detach()), *args[1:])

    for model in pairs[1]:
        for block in (m for m in model.modules() if type(m).__name__ == "MeptLayer"):
            block.register_forward_pre_hook(stop)
    expected = [step(model) for model in pairs[1]]

    assert found[1][0] - found[0][0] == pytest.approx(expected[1][0] - expected[0][0], rel=BOUND)
    more = [{n: both[1][1][n] - both[0][1][n] for n in both[0][1]} for both in (found, expected)]
    # Neither loss of a router knows experts of the last layer.
    assert float(more[1]["2.experts"].norm()) == pytest.approx(0, abs=1e-12)
    routers = [{n: g for n, g in each.items() if n[0] != "2" or "router" in n} for each in more]
    assert_same(routers[0], routers[1], 1e-8)


@gradients
def test_a_record_of_routing_has_a_step_once(gradient: str) -> None:
    model = tuned(tiny_model("llama"))
    batch = tiny_batch("llama")
    config: Any = {"ratio": 0.4, "gradient": gradient}
    with record_routing(model) as dense:
        model(**batch)
    with (
        apply_tokenseek(model, TokenSeekConfig(**config)),
        record_routing(model) as sought,
    ):
        for _ in range(2):
            model(**batch).loss.backward()
    assert sought.chosen.shape == (3, 6, 2)
    for found in (sought.probabilities, sought.pooled, sought.activations):
        assert torch.equal(found[:, :3], found[:, 3:])
    assert torch.equal(sought.chosen[:, :3], dense.chosen)
    torch.testing.assert_close(sought.activations[:, :3], dense.activations)
