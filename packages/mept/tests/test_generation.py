from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import DynamicCache

import reference
from tiny import DECODERS, ROTARY, SEQ2SEQ, prompts_of, tiny_model, tuned
from tiny_models import VOCABULARY

pytestmark = [
    pytest.mark.usefixtures("float64"),
    pytest.mark.filterwarnings("ignore:sliding_window:UserWarning"),
]

NEW = 12


def prepared(family: str, **settings: Any) -> Any:
    """A model that ends no text by itself."""
    model = tuned(tiny_model(family, **settings)).eval()
    model.get_base_model().generation_config.eos_token_id = None
    return model


def prompt(padding: bool = False) -> dict[str, Tensor]:
    """Two prompts of 6 tokens, or of 6 and 4."""
    torch.manual_seed(2)
    ids = torch.randint(3, VOCABULARY, (2, 6))
    mask = torch.ones_like(ids)
    if padding:
        ids[1, :2] = mask[1, :2] = 0
    return {"input_ids": ids, "attention_mask": mask}


def generated(model: Any, inputs: dict[str, Tensor], **settings: Any) -> Tensor:
    found = model.generate(**inputs, max_new_tokens=NEW, do_sample=False, **settings)
    assert isinstance(found, Tensor)
    return found[:, -NEW:]


@pytest.mark.parametrize("use_cache", [True, False], ids=["cached", "uncached"])
@pytest.mark.parametrize("padding", [False, True], ids=["whole", "padded"])
@pytest.mark.parametrize("family", DECODERS)
def test_greedy_tokens_are_those_of_the_uncached_reference(
    family: str, padding: bool, use_cache: bool
) -> None:
    # Windows are counted in rows: padding on the left moves prompts out of them.
    wide: dict[str, Any] = {"sliding_window": 32} if padding else {}
    model, inputs = prepared(family, **wide), prompt(padding)
    found = generated(model, inputs, use_cache=use_cache)
    plain, prompts = tiny_model(family, **wide), prompts_of(model)
    for row, mask in enumerate(inputs["attention_mask"].bool()):
        ids = inputs["input_ids"][row][mask]
        with torch.no_grad():
            assert found[row].tolist() == reference.greedy(plain, prompts, ids, 2, NEW)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_eager_attention_generates_the_same(family: str) -> None:
    model, inputs = prepared(family), prompt(padding=True)
    expected = generated(model, inputs)
    model.get_base_model().set_attn_implementation("eager")
    assert torch.equal(generated(model, inputs), expected)


@pytest.mark.parametrize("family", [*DECODERS, *SEQ2SEQ])
def test_beams_of_a_batch_are_those_of_its_inputs_one_by_one(family: str) -> None:
    wide: dict[str, Any] = {"sliding_window": 32}
    model, inputs = prepared(family, **wide), prompt(padding=True)
    found = generated(model, inputs, num_beams=3)
    for row, mask in enumerate(inputs["attention_mask"].bool()):
        alone = {"input_ids": inputs["input_ids"][row][mask][None]}
        if family == "bart":  # its positions begin where the padding does
            alone = {n: v[row : row + 1] for n, v in inputs.items()}
        assert torch.equal(generated(model, alone, num_beams=3)[0], found[row])
    assert torch.equal(generated(model, inputs, num_beams=3, use_cache=False), found)


@pytest.mark.parametrize("family", DECODERS)
def test_cached_scores_of_beams_are_those_of_the_uncached_reference(family: str) -> None:
    wide: dict[str, Any] = {"sliding_window": 32}
    model, inputs = prepared(family, **wide), prompt(padding=True)
    settings: dict[str, Any] = {"num_beams": 3, "num_return_sequences": 3, "output_scores": True}
    found = model.generate(
        **inputs, **settings, max_new_tokens=NEW, do_sample=False, return_dict_in_generate=True
    )
    plain, prompts = tiny_model(family, **wide), prompts_of(model)
    for place, written in enumerate(found.sequences[:, -NEW:]):
        mask = inputs["attention_mask"][place // 3].bool()
        ids = torch.cat([inputs["input_ids"][place // 3][mask], written])
        seen = list(range(int(mask.sum())))
        with torch.no_grad():
            logs = reference.decoder_logits(plain, prompts, ids, seen, 2).log_softmax(-1)
        expected = logs[len(seen) - 1 : -1].gather(1, written[:, None]).mean()
        assert float(found.sequences_scores[place]) == pytest.approx(float(expected), rel=1e-9)


@pytest.mark.parametrize("use_cache", [True, False], ids=["cached", "uncached"])
@pytest.mark.parametrize("negative", [None, 3, 6, 9])
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_guidance_routes_each_of_its_two_prompts_by_itself(
    family: str, negative: int | None, use_cache: bool
) -> None:
    model, ids = prepared(family), prompt()["input_ids"]
    away = ids[:, -1:] if negative is None else torch.randint(3, VOCABULARY, (2, negative))
    settings: dict[str, Any] = {"guidance_scale": 2.0, "output_scores": True}
    if negative is not None:
        settings["negative_prompt_ids"] = away
    found = model.generate(
        ids,
        **settings,
        max_new_tokens=4,
        do_sample=False,
        use_cache=use_cache,
        return_dict_in_generate=True,
    )
    plain, prompts = tiny_model(family), prompts_of(model)
    for row, written in enumerate(found.sequences[:, -4:]):
        logs = []
        for asked in (ids[row], away[row]):
            tokens, seen = torch.cat([asked, written]), list(range(len(asked)))
            with torch.no_grad():
                logits = reference.decoder_logits(plain, prompts, tokens, seen, 2)
            logs.append(logits[len(asked) - 1 : -1].log_softmax(-1))
        towards, from_there = logs
        expected = from_there + 2.0 * (towards - from_there)
        scores = torch.stack([step[row] for step in found.scores])
        torch.testing.assert_close(scores, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_the_papers_pool_gives_cached_and_uncached_scores_alike(family: str) -> None:
    model = prepared(family)
    for config in model.peft_config.values():
        config.legacy_pool = True
    settings = {"output_scores": True, "return_dict_in_generate": True, "do_sample": False}
    cached, uncached = (
        model.generate(**prompt(padding=True), **settings, max_new_tokens=NEW, use_cache=use)
        for use in (True, False)
    )
    torch.testing.assert_close(cached.scores, uncached.scores, rtol=1e-9, atol=1e-9)
    ids = prompt()["input_ids"]
    mask = torch.zeros_like(ids)
    mask[:, :3] = 1
    before = model(input_ids=ids, routing_mask=mask).logits
    longer = torch.nn.functional.pad(ids, (0, 5), value=7)
    after = model(input_ids=longer, routing_mask=torch.nn.functional.pad(mask, (0, 5))).logits
    torch.testing.assert_close(after[:, :6], before, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("cross_attend", [True, False])
@pytest.mark.parametrize("family", SEQ2SEQ)
def test_decoders_of_encoders_generate_as_the_uncached_reference(
    family: str, cross_attend: bool
) -> None:
    model = tuned(tiny_model(family), cross_attend_prompts=cross_attend).eval()
    model.get_base_model().generation_config.eos_token_id = None
    inputs = prompt(padding=True)
    inputs = {n: v.flip(1) for n, v in inputs.items()}  # padded on the right
    found = generated(model, inputs)
    plain, prompts = tiny_model(family), prompts_of(model)
    start = plain.config.decoder_start_token_id
    for row, mask in enumerate(inputs["attention_mask"].bool()):
        target = torch.tensor([start])
        for _ in range(NEW):
            with torch.no_grad():
                logits = reference.seq2seq_logits(
                    plain,
                    prompts,
                    inputs["input_ids"][row][mask],
                    target,
                    2,
                    cross_attend=cross_attend,
                )
            target = torch.cat([target, logits[-1].argmax()[None]])
        assert found[row].tolist() == target[1:].tolist()


def test_embeddings_generate_as_their_tokens_do() -> None:
    model, inputs = prepared("llama"), prompt(padding=True)
    expected = generated(model, inputs)
    embeddings = model.get_input_embeddings()(inputs.pop("input_ids"))
    assert torch.equal(generated(model, inputs | {"inputs_embeds": embeddings}), expected)


def stepwise(model: Any, inputs: dict[str, Tensor], *given: str) -> Tensor:
    """What a loop of one's own writes, which gives masks and positions if they are named."""
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    step, cache, first = ids, DynamicCache(config=model.config), {"routing_mask": mask}
    with torch.no_grad():
        for _ in range(NEW):
            positions = (mask.cumsum(1) - 1).clamp(min=0)[:, -step.shape[1] :]
            said = {"attention_mask": mask, "position_ids": positions}
            said = {name: said[name] for name in given} | first
            output = model(input_ids=step, past_key_values=cache, use_cache=True, **said)
            step, first = output.logits[:, -1:].argmax(-1), {}
            ids = torch.cat([ids, step], dim=1)
            mask = torch.cat([mask, torch.ones_like(step)], dim=1)
    return ids[:, -NEW:]


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma3_text"])
@pytest.mark.parametrize(
    "given", [("attention_mask", "position_ids"), ()], ids=["given", "counted"]
)
def test_a_loop_of_ones_own_extends_a_cache_by_a_token_a_step(
    family: str, given: tuple[str, ...]
) -> None:
    """With masks and positions, and without, where the model counts them."""
    model, inputs = prepared(family), prompt()
    assert torch.equal(stepwise(model, inputs, *given), generated(model, inputs))


@pytest.mark.parametrize("family", ROTARY)
def test_behind_padding_such_a_loop_need_not_give_rotary_positions(family: str) -> None:
    model, inputs = prepared(family, sliding_window=32), prompt(padding=True)
    assert torch.equal(stepwise(model, inputs, "attention_mask"), generated(model, inputs))


def test_one_step_may_be_given_as_an_embedding() -> None:
    model, ids = prepared("llama"), prompt()["input_ids"]
    filled = [
        model(input_ids=ids, routing_mask=torch.ones_like(ids), use_cache=True).past_key_values
        for _ in range(2)
    ]
    expected = model(input_ids=ids[:, :1], past_key_values=filled[0]).logits
    embedding = model.get_input_embeddings()(ids[:, :1])
    assert torch.equal(model(inputs_embeds=embedding, past_key_values=filled[1]).logits, expected)


def test_a_routing_mask_holds_for_all_beams_and_to_the_end() -> None:
    model, inputs = prepared("llama"), prompt()
    mask = torch.tensor([[1, 1, 0, 0, 0, 0], [0, 0, 0, 1, 1, 1]])
    for settings in ({}, {"num_beams": 2}):
        found = generated(model, inputs, routing_mask=mask, **settings)
        again = generated(model, inputs, routing_mask=mask, use_cache=False, **settings)
        assert torch.equal(found, again)
        assert not torch.equal(found, generated(model, inputs, **settings))


def test_a_call_of_generate_leaves_nothing_behind() -> None:
    model, inputs = prepared("llama"), prompt()
    expected = generated(model, inputs)
    with pytest.raises(ValueError, match="not_a_setting"):
        model.generate(**inputs, not_a_setting=1)
    with pytest.raises(ValueError, match="labels"):  # outside of it again
        model(**inputs)
    assert torch.equal(generated(model, inputs), expected)


def test_a_copy_of_the_model_generates_by_itself() -> None:
    model, inputs = prepared("llama"), prompt()
    expected = generated(model, inputs)
    other = copy.deepcopy(model)
    for parameter in model.parameters():
        parameter.data.zero_()
    assert torch.equal(generated(other, inputs), expected)
