"""Every family against the slow reference: outputs, loss, and the gradient of every tensor."""

from __future__ import annotations

import pytest
import torch

import reference
from compared import BOUND, assert_as_reference, real_logits, slow
from tiny import FAMILIES, ROTARY, prompts_of, tiny_batch, tiny_model, tuned

pytestmark = [
    pytest.mark.usefixtures("float64"),
    # What the warning says is held to the reference below.
    pytest.mark.filterwarnings("ignore:sliding_window:UserWarning"),
]

paddings = pytest.mark.parametrize("padding", ["left", "right"])


@pytest.mark.parametrize("k", [1, 2, 4])
@paddings
@pytest.mark.parametrize("family", FAMILIES)
def test_a_batch_equals_its_inputs_one_by_one(family: str, padding: str, k: int) -> None:
    assert_as_reference(family, padding, top_k=k)


@pytest.mark.parametrize("family", ["llama", "gpt2", "t5", "bart", "bert"])
def test_layers_without_experts_carry_on_the_rows_of_the_layer_before(family: str) -> None:
    model = assert_as_reference(family, "right", layers=[0, 2])
    assert {name.partition(".")[0] for name in prompts_of(model)} == {"0", "2"}


@pytest.mark.parametrize("family", ["llama", "t5", "bert"])
def test_there_may_be_no_shared_expert(family: str) -> None:
    model = assert_as_reference(family, "right", shared_expert=False)
    assert not any("shared" in name for name in prompts_of(model))


@pytest.mark.filterwarnings("ignore:num_experts:UserWarning")
@pytest.mark.parametrize("family", ["llama", "gpt2", "t5", "bart", "bert", "roberta"])
@pytest.mark.parametrize(
    ("rows", "experts", "k"), [(1, 4, 1), (1, 1, 1), (3, 1, 1), (5, 6, 3)], ids=str
)
def test_any_number_of_rows_and_experts_will_do(
    family: str, rows: int, experts: int, k: int
) -> None:
    """Three rows are as many as inputs in the batch."""
    assert_as_reference(family, "right", num_virtual_tokens=rows, num_experts=experts, top_k=k)


@pytest.mark.parametrize("family", ["t5", "bart"])
@paddings
def test_a_decoder_need_not_see_the_prompt_rows(family: str, padding: str) -> None:
    assert_as_reference(family, padding, {"cross_attend": False}, cross_attend_prompts=False)


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
@pytest.mark.parametrize("family", ["llama", "gemma3_text", "gpt2", "t5", "bert"])
def test_every_attention_gets_the_mask_it_needs(family: str, implementation: str) -> None:
    assert_as_reference(family, "right", implementation=implementation)


@pytest.mark.parametrize(
    ("family", "padding"),
    [("bert", "right"), ("roberta", "right"), ("llama", "right"), ("llama", "left")],
)
def test_a_class_is_read_off_the_real_first_or_last_token(family: str, padding: str) -> None:
    model = tuned(tiny_model(family, "SEQ_CLS", num_labels=3), "SEQ_CLS", modules_to_save=[])
    batch = tiny_batch(family, padding) | {"labels": torch.tensor([0, 2, 1])}
    output = model(**batch)
    plain, prompts = tiny_model(family, "SEQ_CLS", num_labels=3), prompts_of(model)
    for row, mask in enumerate(batch["attention_mask"].bool()):
        ids = batch["input_ids"][row][mask]
        types = batch.get("token_type_ids", batch["input_ids"])[row][mask]
        expected = reference.class_logits(plain, prompts, ids, types, 2)
        torch.testing.assert_close(output.logits[row], expected, rtol=BOUND, atol=BOUND)


@pytest.mark.parametrize("family", ROTARY)
def test_rotary_positions_that_are_not_given_are_counted_behind_padding(family: str) -> None:
    model = tuned(tiny_model(family, sliding_window=12))
    batch = tiny_batch(family, "left")
    expected = model(**batch).logits  # held to the reference above
    del batch["position_ids"]
    assert torch.equal(model(**batch).logits, expected)


def test_learned_positions_that_are_not_given_are_those_of_the_base_model() -> None:
    model, batch = tuned(tiny_model("gpt2")), tiny_batch("gpt2", "left")
    del batch["position_ids"]
    expected = model(**batch, position_ids=torch.arange(9)[None]).logits
    assert torch.equal(model(**batch).logits, expected)


def test_learned_positions_reach_as_far_as_without_prompts() -> None:
    model = tuned(tiny_model("gpt2"))
    ids = torch.randint(3, 61, (1, 64))  # all of n_positions
    labels = ids.clone()
    labels[:, :2] = -100
    found = model(input_ids=ids, labels=labels).logits[0]
    expected = reference.decoder_logits(tiny_model("gpt2"), prompts_of(model), ids[0], [0, 1], 2)
    torch.testing.assert_close(found, expected, rtol=BOUND, atol=BOUND)


@pytest.mark.parametrize("family", FAMILIES)
def test_one_token_is_enough(family: str) -> None:
    model = tuned(tiny_model(family))
    batch = {n: v[:, :1] for n, v in tiny_batch(family).items()}
    expected, _ = slow(family, prompts_of(model), batch, 2, {}, seen=[0])
    found = model(**batch).logits
    torch.testing.assert_close(found, torch.stack(expected), rtol=BOUND, atol=BOUND)


@pytest.mark.parametrize("family", FAMILIES)
def test_an_input_of_which_routers_see_nothing_has_experts_alike(family: str) -> None:
    model, batch = tuned(tiny_model(family)), tiny_batch(family)
    nothing = torch.zeros_like(batch["input_ids"])
    expected, _ = slow(family, prompts_of(model), batch, 2, {}, seen=[])
    found = real_logits(family, model(**batch, routing_mask=nothing).logits, batch)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=BOUND, atol=BOUND)


@pytest.mark.parametrize("family", FAMILIES)
def test_embeddings_may_be_given_in_place_of_tokens(family: str) -> None:
    model = tuned(tiny_model(family))
    batch = tiny_batch(family)
    if family == "roberta":  # it numbers its tokens by what is no padding
        batch["position_ids"] = (batch["attention_mask"].cumsum(1)).clamp(min=0)
        batch = {n: v[:1] for n, v in batch.items()}
    expected = model(**batch).logits
    embeddings = model.get_input_embeddings()(batch.pop("input_ids"))
    found = model(**batch, inputs_embeds=embeddings).logits
    torch.testing.assert_close(found, expected, rtol=BOUND, atol=BOUND)


@pytest.mark.parametrize("dtype", [torch.bool, torch.float32])
@pytest.mark.parametrize("family", ["llama", "t5", "bart", "bert"])
def test_masks_may_be_of_any_type(family: str, dtype: torch.dtype) -> None:
    model, batch = tuned(tiny_model(family)), tiny_batch(family)
    expected = model(**batch).logits
    batch["attention_mask"] = batch["attention_mask"].to(dtype)
    assert torch.equal(model(**batch).logits, expected)


def test_gemma_scales_embeddings_once() -> None:
    """Its embedding module does it: what is given in their place comes scaled already."""
    model = tuned(tiny_model("gemma3_text"))
    ids = tiny_batch("gemma3_text")["input_ids"]
    embedding = model.get_input_embeddings()
    torch.testing.assert_close(embedding(ids), embedding.weight[ids] * 32**0.5)
    first = model(**tiny_batch("gemma3_text"), output_hidden_states=True).hidden_states[0]
    assert torch.equal(first, embedding(ids))


def test_types_of_tokens_are_those_of_the_tokens() -> None:
    model = tuned(tiny_model("gpt2"))
    batch = tiny_batch("gpt2")
    types = batch["input_ids"] % 3 + 3
    model.get_input_embeddings().weight.data[3:6] = 0  # the types then add nothing
    expected = model(**batch).logits
    assert torch.equal(model(**batch, token_type_ids=types).logits, expected)


@pytest.mark.parametrize("layer", [0, 2])
@pytest.mark.parametrize(
    ("family", "blocks", "seen"),
    [("t5", "encoder.block", 9), ("bert", "bert.encoder.layer", 9), ("llama", "model.layers", 5)],
)
def test_legacy_pool_is_the_formula_of_the_papers_code(
    family: str, blocks: str, seen: int, layer: int
) -> None:
    """Padding counts: of a decoder, what is in front of the two tokens before the first label."""
    model = tuned(tiny_model(family), legacy_pool=True, router="linear")
    inputs: list[torch.Tensor] = []
    block = model.get_submodule(f"base_model.model.{blocks}.{layer}.base_layer")
    block.register_forward_pre_hook(lambda _, args: inputs.append(args[0][1]))
    model(**tiny_batch(family, "left" if family == "llama" else "right"))
    rows, tokens = inputs[0][:3], inputs[0][3:]  # of an input with three tokens of padding

    prompts = prompts_of(model)
    u = torch.stack([row / (row.square().mean() + 1e-6).sqrt() for row in tokens[:seen]])
    s = u.sum(0) / (3 + seen)
    p = (prompts[f"{layer}.router"] @ s).softmax(0)
    expected = prompts[f"{layer}.shared"].clone()
    for e in p.topk(2).indices:
        expected += p[e] * prompts[f"{layer}.experts"][e]
    torch.testing.assert_close(rows, expected, rtol=1e-9, atol=1e-9)
