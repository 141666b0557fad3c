"""PEFT's own machinery on the method: saving, loading, switching, taking off."""

from __future__ import annotations

import copy
import io
import threading
from pathlib import Path
from typing import Any

import accelerate
import pytest
import torch
from peft import PeftModel, get_peft_model, inject_adapter_in_model
from torch import Tensor
from transformers import AutoModelForCausalLM, initialization

from mept import MeptConfig, MeptModel
from tiny import FAMILIES, TASKS, prompts_of, tiny_batch, tiny_model, tuned
from tokenseek_common import InputError

pytestmark = pytest.mark.filterwarnings("ignore:sliding_window:UserWarning")


def logits(model: Any, family: str = "llama") -> Tensor:
    with torch.no_grad():  # attention is computed otherwise where it needs gradients
        found = model(**tiny_batch(family)).logits
    assert isinstance(found, Tensor)
    return found


@pytest.mark.parametrize("family", FAMILIES)
def test_switched_off_and_taken_off_the_model_is_the_base_model_bit_for_bit(family: str) -> None:
    base = tiny_model(family)
    expected, names = logits(base, family), base.state_dict().keys()
    generate = "generate" in vars(base)
    model = tuned(base)
    prompted = logits(model, family)
    assert not torch.equal(prompted, expected)
    with model.disable_adapter():
        assert torch.equal(logits(model, family), expected)
    assert torch.equal(logits(model, family), prompted)

    unloaded = model.unload()
    assert unloaded is base
    assert torch.equal(logits(base, family), expected)
    assert base.state_dict().keys() == names
    assert ("generate" in vars(base)) == generate
    modules = list(base.modules())
    assert not any(m._forward_pre_hooks or m._forward_hooks for m in modules)
    assert torch.equal(logits(tuned(base), family), prompted)  # and it can be tuned again


@pytest.mark.parametrize(
    ("family", "head"),
    [
        ("llama", "score"),
        ("gpt2", "score"),
        ("bert", "classifier"),
        ("roberta", "classifier"),
        ("t5", "classification_head"),
        ("bart", "classification_head"),
    ],
)
def test_the_head_of_a_classifier_is_trained_saved_and_taken_off_again(
    family: str, head: str, tmp_path: Path
) -> None:
    base = tiny_model(family, "SEQ_CLS")
    own = {name: value.clone() for name, value in base.get_submodule(head).named_parameters()}
    ids = torch.arange(3, 15).view(2, 6)
    ids[:, -1] = 2  # where T5 and BART read
    model = tuned(base, "SEQ_CLS").eval()
    trained = {n: p for n, p in model.named_parameters() if p.requires_grad and "mept_" not in n}
    assert {name.rpartition(".default.")[2] for name in trained} == set(own)
    for parameter in trained.values():
        parameter.data += 1
    model.save_pretrained(str(tmp_path))
    loaded = PeftModel.from_pretrained(tiny_model(family, "SEQ_CLS"), tmp_path)
    with torch.no_grad():
        expected = model(input_ids=ids).logits
        torch.testing.assert_close(loaded(input_ids=ids).logits, expected, rtol=1e-12, atol=1e-12)
    unloaded = model.unload()
    found = unloaded.get_submodule(head).named_parameters()
    assert all(torch.equal(value, own[name]) for name, value in found)


def test_what_is_loaded_for_inference_is_not_trained_after_a_look_at_the_base(
    tmp_path: Path,
) -> None:
    tuned(tiny_model("bert", "SEQ_CLS"), "SEQ_CLS").save_pretrained(str(tmp_path))
    for trainable in (False, True):
        base = tiny_model("bert", "SEQ_CLS")
        model = PeftModel.from_pretrained(base, tmp_path, is_trainable=trainable)
        before = {name for name, p in model.named_parameters() if p.requires_grad}
        assert bool(before) == trainable
        with model.disable_adapter():
            assert not any("mept_" in n for n, p in model.named_parameters() if p.requires_grad)
            with model.disable_adapter():
                pass
        assert {name for name, p in model.named_parameters() if p.requires_grad} == before


@pytest.mark.parametrize(
    ("family", "layers", "told"),
    [("llama", 5, "llama, 5"), ("llama", 2, "llama, 2"), ("qwen2", 3, "qwen2, 3")],
)
def test_prompts_are_not_loaded_on_a_model_that_they_were_not_made_for(
    family: str, layers: int, told: str, tmp_path: Path
) -> None:
    config = MeptConfig(task_type="CAUSAL_LM")
    for count in (4, 3):  # one config may serve several models
        get_peft_model(tiny_model("llama", num_hidden_layers=count), config)
    tuned(tiny_model("llama")).save_pretrained(str(tmp_path))
    other = tiny_model(family, num_hidden_layers=layers)
    with pytest.raises(InputError) as refused:
        PeftModel.from_pretrained(other, tmp_path)
    assert str(refused.value) == (
        f"model ({told} layers of width 32) must be like the one that the prompts were made for "
        "(llama, 3 layers of width 32); load them on that one"
    )


@pytest.mark.parametrize("family", ["llama", "gpt2", "t5", "bert"])
def test_a_loaded_adapter_gives_what_the_saved_one_gave(family: str, tmp_path: Path) -> None:
    model = tuned(tiny_model(family), layers=[0, 2])
    expected = logits(model, family)
    model.save_pretrained(str(tmp_path))
    loaded = PeftModel.from_pretrained(tiny_model(family), tmp_path)
    assert torch.equal(logits(loaded, family), expected)
    assert not any(p.requires_grad for p in loaded.parameters())
    empty = PeftModel.from_pretrained(tiny_model(family), tmp_path, low_cpu_mem_usage=True)
    assert torch.equal(logits(empty, family), expected)
    trainable = PeftModel.from_pretrained(tiny_model(family), tmp_path, is_trainable=True)
    assert {n for n, p in trainable.named_parameters() if p.requires_grad} == {
        n for n, p in model.named_parameters() if p.requires_grad
    }


def test_a_saved_adapter_holds_prompts_alone(tmp_path: Path) -> None:
    model = tuned(tiny_model("llama"))
    model.save_pretrained(str(tmp_path))
    loaded = PeftModel.from_pretrained(tiny_model("llama"), tmp_path)
    saved = {path.name for path in tmp_path.iterdir()}
    assert saved == {"README.md", "adapter_config.json", "adapter_model.safetensors"}
    stored = 3 * (4 * 3 * 32 + 3 * 32 + 4 * 32 + 1)  # L (E P d + P d + E d), and a scale
    assert sum(p.numel() for p in prompts_of(loaded).values()) == stored
    assert model.get_nb_trainable_parameters()[0] == stored


def test_adapters_of_several_shapes_are_switched_and_deleted(tmp_path: Path) -> None:
    model = tuned(tiny_model("llama"))
    first = logits(model)
    settings: dict[str, Any] = {"num_virtual_tokens": 5, "num_experts": 2, "layers": [0, 1]}
    model.add_adapter("second", MeptConfig(task_type="CAUSAL_LM", init_std=1.0, **settings))
    assert torch.equal(logits(model), first)
    assert not any(p.requires_grad for p in prompts_of(model, "second").values())

    model.set_adapter("second")
    second = logits(model)
    assert not torch.equal(second, first)
    assert all(p.requires_grad for p in prompts_of(model, "second").values())
    assert not any(p.requires_grad for p in prompts_of(model).values())
    model.save_pretrained(str(tmp_path))
    model.set_adapter("default")
    assert torch.equal(logits(model), first)

    loaded = PeftModel.from_pretrained(tiny_model("llama"), tmp_path)
    loaded.load_adapter(tmp_path / "second", adapter_name="second")
    assert torch.equal(logits(loaded), first)
    loaded.set_adapter("second")
    assert torch.equal(logits(loaded), second)
    loaded.delete_adapter("default")
    assert torch.equal(logits(loaded), second)


def test_a_second_adapter_may_lack_a_shared_expert() -> None:
    model = tuned(tiny_model("llama"))
    model.add_adapter("bare", MeptConfig(task_type="CAUSAL_LM", top_k=2, shared_expert=False))
    model.set_adapter("bare")
    assert torch.isfinite(logits(model)).all()
    model.delete_adapter("default")
    assert set(prompts_of(model, "bare")) == {
        f"{layer}.{kind}" for layer in range(3) for kind in ("router", "router_scale", "experts")
    }


def test_a_base_model_may_be_loaded_by_a_map_of_devices(tmp_path: Path) -> None:
    expected = logits(tuned(tiny_model("llama")))
    tiny_model("llama").save_pretrained(str(tmp_path))
    base = AutoModelForCausalLM.from_pretrained(
        tmp_path, device_map={"": "cpu"}, dtype=torch.float64
    )
    assert torch.equal(logits(tuned(base)), expected)


def test_a_head_is_trained_saved_and_loaded_beside_the_prompts(tmp_path: Path) -> None:
    base = tiny_model("bert", "SEQ_CLS")
    model = tuned(base, "SEQ_CLS")  # PEFT adds the head of a classifier by itself
    batch = tiny_batch("bert") | {"labels": torch.tensor([0, 2, 1])}
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    model(**batch).loss.backward()
    optimizer.step()
    expected = model(**batch).logits
    model.save_pretrained(str(tmp_path))
    loaded = PeftModel.from_pretrained(tiny_model("bert", "SEQ_CLS"), tmp_path)
    assert torch.equal(loaded(**batch).logits, expected)

    other = tuned(tiny_model("llama"), modules_to_save=["lm_head"])
    trained = {n for n, p in other.named_parameters() if p.requires_grad and "mept_" not in n}
    assert trained == {"base_model.model.lm_head.modules_to_save.default.weight"}


def test_layers_may_be_chosen_by_name(tmp_path: Path) -> None:
    named = tuned(tiny_model("llama"), target_modules=r"model\.layers\.[02]")
    numbered = tuned(tiny_model("llama"), layers=[0, 2])
    assert torch.equal(logits(named), logits(numbered))
    named.save_pretrained(str(tmp_path))
    loaded = PeftModel.from_pretrained(tiny_model("llama"), tmp_path)
    assert torch.equal(logits(loaded), logits(named))


def test_prompts_are_drawn_while_other_initialisation_is_switched_off() -> None:
    """As it is while transformers loads a model."""
    with initialization.no_init_weights():
        model = tuned(tiny_model("llama"), init_std=0.02, num_virtual_tokens=40)
    for name, parameter in prompts_of(model).items():
        if "scale" in name:
            assert float(parameter.detach().exp()) == pytest.approx(10)
        elif "router" in name:
            rows = parameter @ parameter.T / 32  # cosine routers have rows of unit mean square
            torch.testing.assert_close(rows, torch.eye(4, dtype=rows.dtype), atol=1e-6, rtol=0)
        else:
            assert float(parameter.detach().std()) == pytest.approx(0.02, rel=0.1)


def test_experts_may_start_as_xavier_or_as_embeddings_of_tokens() -> None:
    xavier = prompts_of(tuned(tiny_model("llama"), init="xavier", num_virtual_tokens=28))
    bound = (6 / (28 + 32)) ** 0.5
    assert 0.98 * bound < float(xavier["1.experts"].detach().abs().max()) <= bound

    model = tuned(tiny_model("gemma3_text"), init="vocab")
    vocabulary = model.get_input_embeddings()(torch.arange(61)).float()
    prompts = prompts_of(model)
    for row in prompts["0.experts"].view(-1, 32).float():
        assert any(torch.equal(row, token) for token in vocabulary)
    assert not any(torch.equal(prompts["1.experts"][0, 0].float(), t) for t in vocabulary)


def test_more_experts_than_width_have_orthonormal_columns() -> None:
    router = prompts_of(tuned(tiny_model("llama"), num_experts=40))["0.router"]
    columns = router.T @ router / 32
    torch.testing.assert_close(columns, torch.eye(32, dtype=columns.dtype), atol=1e-6, rtol=0)


def test_prompts_of_a_half_precision_model_are_kept_in_float32() -> None:
    model = tuned(tiny_model("llama").bfloat16())
    assert {p.dtype for p in prompts_of(model).values()} == {torch.float32}
    assert logits(model).dtype == torch.bfloat16


def test_a_copied_model_lives_by_itself() -> None:
    model = tuned(tiny_model("llama"))
    expected = logits(model)
    other = copy.deepcopy(model)
    for parameter in model.parameters():
        parameter.data.zero_()
    assert torch.equal(logits(other), expected)
    assert isinstance(other.unload(), type(model.get_base_model()))


def test_a_whole_model_can_be_pickled() -> None:
    model = tuned(tiny_model("llama")).eval()
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=False)
    assert torch.equal(logits(loaded), logits(model))
    ids = torch.randint(3, 61, (1, 4))
    settings = {"max_new_tokens": 4, "do_sample": False}
    expected = model.generate(input_ids=ids, **settings)
    assert torch.equal(loaded.generate(input_ids=ids, **settings), expected)


def test_adapters_may_be_injected_without_a_wrapper() -> None:
    expected = logits(tuned(tiny_model("llama")))
    config = MeptConfig(
        num_virtual_tokens=3, num_experts=4, top_k=2, init_std=1.0, router_init="orthogonal"
    )
    model = tiny_model("llama")
    torch.manual_seed(1)
    inject_adapter_in_model(config, model)
    assert torch.equal(logits(model), expected)
    with pytest.warns(UserWarning, match="Already found a `peft_config`"):
        again = inject_adapter_in_model(config, model, adapter_name="second")
    assert again is model
    assert len(model._forward_pre_hooks) == 1


def test_threads_do_not_see_each_others_passes() -> None:
    """As replicas of DataParallel need it."""
    model = tuned(tiny_model("llama"))
    batches = [tiny_batch("llama", seed=seed) for seed in (1, 2)]
    expected = [model(**batch).logits for batch in batches]
    meet = threading.Barrier(2, timeout=600)  # far longer than it takes on a busy machine
    layer = model.get_submodule("base_model.model.model.layers.1.base_layer")

    def wait(*_: Any) -> None:
        meet.wait()

    layer.register_forward_pre_hook(wait)
    found: dict[int, Tensor] = {}

    def run(index: int) -> None:
        found[index] = model(**batches[index]).logits

    threads = [threading.Thread(target=run, args=(index,)) for index in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(found[index], expected[index]) for index in (0, 1))


def test_weights_may_lie_where_accelerate_puts_them() -> None:
    expected = logits(tuned(tiny_model("llama")))
    base = accelerate.cpu_offload(tiny_model("llama"), torch.device("cpu"))
    assert {p.device.type for p in base.parameters()} == {"meta"}
    model = tuned(base)
    assert {p.device.type for p in prompts_of(model).values()} == {"cpu"}
    # Beside weights on no device their type is not known to be double.
    torch.testing.assert_close(logits(model), expected)


def test_peft_finds_the_method_by_its_task(tmp_path: Path) -> None:
    for family in ("llama", "t5", "bert"):
        model = tuned(tiny_model(family))
        assert isinstance(model.base_model, MeptModel)
        assert type(model).__name__ != "PeftModel"
        assert model.peft_config["default"].task_type == TASKS[family]


def test_a_router_that_can_learn_next_to_nothing_is_warned_of() -> None:
    with pytest.warns(UserWarning, match="top_k") as said:
        tuned(tiny_model("llama"), top_k=1, shared_expert=False)
    assert str(said[0].message) == (
        "top_k (1) without a shared expert teaches the router next to nothing in a pre-norm model "
        "(llama), whose norms take the gate away; use shared_expert=True or top_k=2"
    )
    tuned(tiny_model("bert"), top_k=1, shared_expert=False)


def test_a_single_expert_whose_router_has_no_choice_is_told_of() -> None:
    with pytest.warns(UserWarning, match="num_experts") as said:
        tuned(tiny_model("llama"), top_k=1, num_experts=1, shared_expert=False)
    assert str(said[0].message) == (
        "num_experts (1) leaves the router no choice, so that it is trained for nothing; raise "
        "num_experts, unless all inputs are meant to get the same rows"
    )
