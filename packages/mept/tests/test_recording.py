from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mept import RoutingRecord, record_routing
from reference import logits
from tiny import DECODERS, FAMILIES, SEQ2SEQ, prompts_of, tiny_batch, tiny_model, tuned
from tiny_models import checkpointed

pytestmark = [
    pytest.mark.usefixtures("float64"),
    pytest.mark.filterwarnings("ignore:sliding_window:UserWarning"),
]

ARRAYS = ("probabilities", "chosen", "gates", "pooled", "activations")
K = 2

GATED = ("mlp", lambda mlp, x: mlp.act_fn(mlp.gate_proj(x)) * mlp.up_proj(x))


def fused(gate: Tensor, up: Tensor) -> Tensor:
    return torch.nn.functional.silu(gate) * up


FEED_FORWARD: dict[str, tuple[str, Callable[[Any, Tensor], Tensor]]] = {
    **dict.fromkeys(("llama", "qwen2", "qwen3", "mistral", "gemma2", "gemma3_text"), GATED),
    "phi3": ("mlp", lambda mlp, x: fused(*mlp.gate_up_proj(x).chunk(2, dim=-1))),
    "gpt_neox": ("mlp", lambda mlp, x: mlp.act(mlp.dense_h_to_4h(x))),
    "opt": ("fc1", lambda fc1, x: fc1(x).relu()[None]),  # of rows that are in one
    "gpt2": ("mlp", lambda mlp, x: mlp.act(mlp.c_fc(x))),
    "t5": ("layer.1.DenseReluDense", lambda dense, x: dense.act(dense.wi(x))),
    "bart": ("fc1", lambda fc1, x: torch.nn.functional.gelu(fc1(x))),
    **dict.fromkeys(
        ("bert", "roberta"),
        ("intermediate", lambda part, x: torch.nn.functional.gelu(part.dense(x))),
    ),
}
"""The part of a block whose input its units are made of, and how."""


def arrays(record: RoutingRecord) -> list[Tensor]:
    return [getattr(record, name) for name in ARRAYS]


def recorded(model: Any, *batches: dict[str, Tensor], **settings: Any) -> RoutingRecord:
    with record_routing(model) as record, torch.no_grad():
        for batch in batches:
            model(**batch, **settings)
    return record


def blocks(model: Any) -> list[Any]:
    return [module.base_layer for module in model.modules() if hasattr(module, "mept_router")]


def alone(family: str, batch: dict[str, Tensor], row: int) -> dict[str, Tensor]:
    """One input without its padding."""
    mask = batch["attention_mask"][row].bool()
    whole = ("labels",) if family in SEQ2SEQ else ()
    return {n: (v[row] if n in whole else v[row][mask])[None] for n, v in batch.items()}


def inputs_of(modules: list[nn.Module], run: Callable[[], Any]) -> list[Tensor]:
    """What each module is given first."""
    found: dict[nn.Module, Tensor] = {}

    def note(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        found[module] = args[0].detach()

    handles = [module.register_forward_pre_hook(note) for module in modules]
    run()
    for handle in handles:
        handle.remove()
    return [found[module] for module in modules]


def by_hand(
    tokens: list[Tensor], router: Tensor, log_scale: Tensor
) -> tuple[Tensor, Tensor, list[int], Tensor]:
    """Pooled state, probabilities, choices and gates of one input at one layer."""
    pooled = torch.zeros_like(router[0])
    for token in tokens:
        pooled += token / torch.sqrt((token * token).mean() + 1e-6) / len(tokens)
    shares = torch.stack(logits(pooled, router, log_scale)).softmax(0)
    best = sorted(range(len(router)), key=lambda e: -float(shares[e]))[:K]
    gates = torch.zeros_like(shares)
    for e in best:
        gates[e] = shares[e]
    return pooled, shares, best, gates


@pytest.mark.parametrize("family", FAMILIES)
def test_a_batch_leaves_what_its_inputs_give_by_hand_one_by_one(family: str) -> None:
    model, batch = tuned(tiny_model(family), top_k=K), tiny_batch(family)
    record = recorded(model, batch)
    assert record.layers == (0, 1, 2)
    prompts = {name: prompt.detach() for name, prompt in prompts_of(model).items()}
    path, units_of = FEED_FORWARD[family]
    parts = [block.get_submodule(path) for block in blocks(model)]
    for row in range(3):
        single = alone(family, batch, row)
        states = inputs_of([*blocks(model), *parts], partial(model, **single))
        n = single["input_ids"].shape[1]
        seen = range(2) if family in DECODERS else range(n)  # two tokens have no label
        for layer in range(3):
            tokens = states[layer][0, -n:]
            expected = by_hand(
                [tokens[i] for i in seen],
                prompts[f"{layer}.router"],
                prompts[f"{layer}.router_scale"],
            )
            units = units_of(parts[layer], states[3 + layer])[0, -n:]
            activations = sum(units[i].abs() for i in seen) / len(seen)
            found = (record.pooled, record.probabilities, record.chosen, record.gates)
            for ours, theirs in zip(found, expected, strict=True):
                torch.testing.assert_close(
                    ours[layer, row], torch.as_tensor(theirs), rtol=1e-10, atol=1e-10
                )
            torch.testing.assert_close(
                record.activations[layer, row], activations, rtol=1e-10, atol=1e-10
            )


@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_checkpointing_leaves_a_pass_once(family: str, reentrant: bool) -> None:
    model, batch = tuned(tiny_model(family)), tiny_batch(family)
    expected = recorded(model, batch)
    checkpointed(model.get_base_model(), use_reentrant=reentrant)
    with record_routing(model) as record:
        model(**batch).loss.backward()
    assert len(record.groups) == 3
    for ours, theirs in zip(arrays(record), arrays(expected), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
        assert not ours.requires_grad


@pytest.mark.parametrize("family", ["llama", "gpt2", "t5", "bart", "bert"])
def test_recording_changes_no_bit_of_outputs_and_gradients(family: str) -> None:
    found = []
    for recording in (False, True):
        model = tuned(tiny_model(family))
        with record_routing(model) if recording else torch.enable_grad():
            output = model(**tiny_batch(family))
            output.loss.backward()
        found.append([output.logits, *[prompt.grad for prompt in prompts_of(model).values()]])
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(*found, strict=True))


@pytest.mark.parametrize(("family", "rows"), [("llama", 6), ("gpt2", 6), ("t5", 2), ("bart", 2)])
def test_generation_with_a_cache_leaves_its_prompt_once(family: str, rows: int) -> None:
    """Beams are rows of a decoder from the first pass on; an encoder reads each input once."""
    model = tuned(tiny_model(family)).eval()
    ids = tiny_batch(family)["input_ids"][:2, :4]
    with record_routing(model) as record:
        model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=5, num_beams=3
        )
    assert len(record.groups) == rows
    assert torch.equal(record.pooled[:, 0], record.pooled[:, rows // 2 - 1])


def test_generation_without_a_cache_leaves_each_of_its_passes() -> None:
    model = tuned(tiny_model("llama")).eval()
    ids = tiny_batch("llama")["input_ids"][:1, :4]
    with record_routing(model) as record:
        model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=5, use_cache=False
        )
    assert 1 < len(record.groups) <= 5
    assert (record.chosen == record.chosen[:, :1]).all()


def test_a_model_may_be_given_in_any_of_its_wrappers() -> None:
    model, batch = tuned(tiny_model("bert")), tiny_batch("bert")
    expected = arrays(recorded(model, batch))
    for other in (model.base_model, model.get_base_model()):
        with record_routing(other) as record:
            model(**batch)
        assert all(map(torch.equal, arrays(record), expected))


def test_two_records_at_once_are_alike() -> None:
    model = tuned(tiny_model("llama"))
    with record_routing(model) as outer:
        inner = recorded(model, tiny_batch("llama"))
    assert all(map(torch.equal, arrays(outer), arrays(inner)))


def hooks(model: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def test_nothing_stays_on_the_model_nor_of_a_pass_that_failed() -> None:
    model, batch = tuned(tiny_model("llama")), tiny_batch("llama")
    before = hooks(model)

    def failing(module: nn.Module, args: Any) -> None:
        raise RuntimeError("out of memory")

    with record_routing(model) as record:
        handle = blocks(model)[1].register_forward_pre_hook(failing)
        with pytest.raises(RuntimeError, match="out of memory"):
            model(**batch)
        handle.remove()
        assert hooks(model) > before
        model(**batch)
    assert len(record.groups) == 3
    with pytest.raises(KeyError), record_routing(model):
        raise KeyError
    assert hooks(model) == before
    model(**batch)
    assert len(record.groups) == 3


def test_layers_without_prompts_are_left_out() -> None:
    record = recorded(tuned(tiny_model("llama"), layers=[0, 2]), tiny_batch("llama"))
    assert record.layers == (0, 2)
    assert record.gates.shape == (2, 3, 4)


def test_units_that_are_computed_in_parts_are_the_same() -> None:
    expected, found = (
        recorded(tuned(tiny_model("bert", chunk_size_feed_forward=size)), tiny_batch("bert"))
        for size in (0, 1)
    )
    torch.testing.assert_close(found.activations, expected.activations, rtol=1e-12, atol=1e-12)


def test_numbers_are_in_float32_where_the_model_is_not() -> None:
    record = recorded(tuned(tiny_model("bert").bfloat16()), tiny_batch("bert"))
    assert {record.pooled.dtype, record.activations.dtype} == {torch.float32}


def test_samples_have_the_group_of_their_pass_or_one_each() -> None:
    model, batch = tuned(tiny_model("bert")), tiny_batch("bert")
    with record_routing(model) as record:
        model(**batch)
        record.group = "boolq"
        model(**batch)
        record.group = ["cb", "rte", "cb"]
        model(**batch)
        with pytest.raises(ValueError, match="group") as refused:
            model(**{name: tensor[:2] for name, tensor in batch.items()})
    assert record.groups == (*["all"] * 3, *["boolq"] * 3, "cb", "rte", "cb")
    assert record.probabilities.shape == (3, 9, 4)
    assert str(refused.value) == (
        "group (3 names) must be one name, or as many as the pass has rows (2); "
        "set it before each pass"
    )


def test_a_model_whose_prompts_are_off_or_gone_is_refused() -> None:
    model = tuned(tiny_model("llama"))
    text = (
        "model ({}) must have prompts in use; give it some by get_peft_model, or switch its "
        "adapter on"
    )
    with (
        model.disable_adapter(),
        pytest.raises(ValueError, match="prompts in use") as refused,
        record_routing(model),
    ):
        pass
    assert str(refused.value) == text.format("PeftModelForCausalLM")
    plain = model.unload()
    with pytest.raises(ValueError, match="prompts in use") as refused, record_routing(plain):
        pass
    assert str(refused.value) == text.format("LlamaForCausalLM")


def test_a_pass_with_the_adapter_off_leaves_no_trace() -> None:
    model, batch = tuned(tiny_model("llama")), tiny_batch("llama")
    with record_routing(model) as record, model.disable_adapter():
        model(**batch)
    assert record.groups == ()
    with pytest.raises(ValueError, match="record") as refused:
        _ = record.probabilities
    assert str(refused.value) == (
        "record (0 passes) must hold a pass of the model with its prompts on; "
        "run the model inside `with record_routing(model)`"
    )


def test_other_prompts_than_at_the_beginning_are_refused() -> None:
    model, batch = tuned(tiny_model("llama")), tiny_batch("llama")
    model.add_adapter("other", model.peft_config["default"])
    with record_routing(model) as record:
        model.set_adapter("other")
        with pytest.raises(ValueError, match="adapter") as refused:
            model(**batch)
    assert record.adapter == "default"
    assert str(refused.value) == (
        "adapter (other) must be default, as when the record was begun; begin one for each"
    )
