"""Several adapters on one base in one batch, by PEFT's `adapter_names`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from mept import MeptConfig, record_routing
from tiny import FAMILIES, TASKS, tiny_batch, tiny_model, tuned
from tokenseek_common import InputError

NAMES = ["other", "default", "other"]


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(InputError) as refused:
        call()
    return str(refused.value)


def of_two(family: str, task: str | None = None, **settings: Any) -> Any:
    """A model in float64 with two adapters, the second of which has other experts and layers."""
    model = tuned(tiny_model(family, task), task, router="cosine", router_init="orthogonal")
    torch.manual_seed(7)
    chosen: dict[str, Any] = {
        "num_virtual_tokens": 3,
        "num_experts": 6,
        "top_k": 1,
        "router": "linear",
    }
    chosen |= {"init_std": 1.0, "layers": [0], "router_init": "orthogonal"}
    model.add_adapter("other", MeptConfig(task_type=task or TASKS[family], **chosen | settings))
    return model.double().eval()


def alone(model: Any, adapter: str, **inputs: Tensor) -> Tensor:
    model.set_adapter(adapter)
    with torch.no_grad():
        found: Tensor = model(**inputs).logits
    return found


@pytest.mark.filterwarnings("ignore:sliding_window:UserWarning")
@pytest.mark.parametrize("padding", ["right", "left"])
@pytest.mark.parametrize("family", FAMILIES)
def test_each_input_gets_what_its_adapter_gives_it_alone(family: str, padding: str) -> None:
    model, batch = of_two(family), tiny_batch(family, padding)
    each = {name: alone(model, name, **batch) for name in ("default", "other")}
    assert not torch.allclose(each["default"], each["other"])
    model.set_adapter("default")
    with torch.no_grad():
        mixed = model(**batch, adapter_names=NAMES).logits
    expected = torch.stack([each[name][row] for row, name in enumerate(NAMES)])
    real = batch["attention_mask"].bool() if mixed.shape[1] == 9 else torch.ones(3, mixed.shape[1])
    torch.testing.assert_close(mixed[real.bool()], expected[real.bool()], rtol=0, atol=1e-12)
    torch.testing.assert_close(alone(model, "default", **batch), each["default"])


@pytest.mark.parametrize("family", ["llama", "bert"])
def test_heads_are_those_of_the_adapters(family: str) -> None:
    model = of_two(family, "SEQ_CLS")
    torch.manual_seed(3)
    for name, parameter in model.named_parameters():
        if "modules_to_save.other" in name:
            parameter.data.copy_(torch.randn_like(parameter))
    ids = torch.arange(3, 21).view(3, 6)
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    each = {name: alone(model, name, **batch) for name in ("default", "other")}
    model.set_adapter("default")
    with torch.no_grad():
        mixed = model(**batch, adapter_names=NAMES).logits
    expected = torch.stack([each[name][row] for row, name in enumerate(NAMES)])
    torch.testing.assert_close(mixed, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("settings", [{}, {"num_beams": 2}], ids=["greedy", "beams"])
@pytest.mark.parametrize("family", ["llama", "gpt2", "t5"])
def test_each_prompt_is_gone_on_with_by_its_adapter(family: str, settings: dict[str, int]) -> None:
    model, batch = of_two(family), tiny_batch(family, "left")
    asked: dict[str, Any] = {name: batch[name] for name in ("input_ids", "attention_mask")}
    asked |= {"max_new_tokens": 6, "min_new_tokens": 6, "do_sample": False} | settings
    each = {}
    for name in ("default", "other"):
        model.set_adapter(name)
        each[name] = model.generate(**asked)
    assert not torch.equal(each["default"], each["other"])
    mixed = model.generate(**asked, adapter_names=NAMES)
    expected = torch.stack([each[name][row] for row, name in enumerate(NAMES)])
    assert torch.equal(mixed, expected)


def test_what_one_batch_cannot_have_is_refused() -> None:
    model, batch = of_two("llama"), tiny_batch("llama")
    assert refusal(lambda: model(**batch, adapter_names=["default", "__base__", "other"])) == (
        "adapter_names (__base__) must be of default, other; load them first, and run inputs "
        "without prompts under disable_adapter"
    )
    assert refusal(lambda: model(**batch, adapter_names=[])).startswith("adapter_names (none)")
    assert refusal(lambda: model(**batch, adapter_names=["default", "other"])) == (
        "adapter_names (2) must be as many as the inputs (3); name one for each"
    )
    with record_routing(model):
        assert refusal(lambda: model(**batch, adapter_names=NAMES)) == (
            "adapter_names (other, default) must be left out where routing is recorded, a record "
            "is of one adapter; choose it by set_adapter"
        )
    model.train()
    assert refusal(lambda: model(**batch, adapter_names=NAMES)) == (
        "adapter_names (other, default) must be left out in training, where losses of routers are "
        "of one adapter; call eval(), or train them one after the other"
    )
    head = of_two("roberta", "SEQ_CLS")
    assert refusal(lambda: head(batch["input_ids"], adapter_names=NAMES)) == (
        "adapter_names (other, default) must be left out with a head of several modules "
        "(RobertaClassificationHead), which PEFT runs for one adapter; choose it by set_adapter"
    )
    longer = of_two("llama", num_virtual_tokens=5)
    assert refusal(lambda: longer(**batch, adapter_names=NAMES)) == (
        "adapter_names (other, default) must have one num_virtual_tokens in a batch (5, 3); run "
        "them in batches of their own"
    )


def test_a_refused_batch_leaves_nothing_behind_and_none_have_prompts_where_they_are_off() -> None:
    model, batch = of_two("llama"), tiny_batch("llama")
    expected = alone(model, "default", **batch)
    refusal(lambda: model(**batch, adapter_names=["default", "other"]))
    assert torch.equal(alone(model, "default", **batch), expected)
    with model.disable_adapter(), torch.no_grad():
        bare = model(**batch).logits
        assert torch.equal(model(**batch, adapter_names=NAMES).logits, bare)
