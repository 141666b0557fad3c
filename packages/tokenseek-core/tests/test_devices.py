"""Models on several devices, and keys and values that lie in memory in other ways."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import dispatch_model
from accelerate.hooks import AlignDevicesHook, add_hook_to_module
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import AutoModelForCausalLM, PreTrainedModel, masking_utils
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from exact import assert_exact, assert_reference, exact_model
from families import tiny_batch, tiny_model
from float64 import spare_float64
from taken import always, take_step
from tiny_models import checkpointed, random_model, tiny_config
from tokenseek_common import InputError
from tokenseek_core import TokenSeekConfig, apply_tokenseek
from tokenseek_core._anatomy import replaced
from tokenseek_core._attention import register
from tokenseek_core._batch import Batch
from tokenseek_core._check import compared

PLACES = {
    "model.embed_tokens": "cpu",
    "model.rotary_emb": "cpu",
    "model.layers.0": "meta",
    "model.layers.1": "cpu",
    "model.layers.2": "meta",
    "model.norm": "cpu",
    "lm_head": "meta",
}
"""The parts of a tiny Llama, each on another device than the one before."""


@pytest.mark.parametrize("gradient", ["restart", "inject"])
@pytest.mark.parametrize("checkpointing", [False, True], ids=["plain", "checkpointing"])
def test_the_hooks_of_a_device_map_change_nothing(
    monkeypatch: pytest.MonkeyPatch, gradient: Any, checkpointing: bool
) -> None:
    model = exact_model(monkeypatch)
    dispatch_model(model, dict.fromkeys(PLACES, "cpu"), force_hooks=True)
    assert all(hasattr(layer, "_hf_hook") for layer in model.get_decoder().layers)
    checkpointed(model, enable=checkpointing)
    taken = take_step(model, tiny_batch("left"), always(gradient=gradient))
    checkpointed(model, enable=False)
    assert_reference(taken, model, tiny_batch("left"), gradient=gradient)


def test_weights_that_a_device_map_offloads_are_refused(tmp_path: Path) -> None:
    model = tiny_model("llama")
    places = dict.fromkeys(PLACES, "cpu") | {"model.layers.1": "disk"}
    dispatch_model(model, places, offload_dir=tmp_path)
    with pytest.raises(InputError) as error:
        apply_tokenseek(model, always())
    assert str(error.value) == (
        "device_map (model.layers.1.self_attn.q_proj offloaded) must leave every weight on a "
        "device, one that is brought for a forward alone gets no gradient; load the model on "
        "devices alone"
    )


class Placed(AlignDevicesHook):  # type: ignore[misc]  # accelerate has no types
    """The hook of a module whose weights are where they are to be."""

    def init_hook(self, module: nn.Module) -> nn.Module:
        return module


@contextmanager
def two_devices(places: Mapping[str, str] = PLACES) -> Iterator[PreTrainedModel]:
    """A tiny Llama without values, on devices that refuse tensors of one another."""
    with (
        FakeTensorMode(),
        replaced(masking_utils, "find_packed_sequence_indices", lambda position_ids: None),
    ):
        model = AutoModelForCausalLM.from_config(tiny_config("llama")).train()
        for name, device in places.items():
            for module in model.get_submodule(name).modules():
                for tensors in (module._parameters, module._buffers):
                    for key, tensor in tensors.items():
                        if tensor is None:
                            continue
                        moved = tensor.detach().to(device)
                        tensors[key] = nn.Parameter(moved) if tensor.requires_grad else moved
                add_hook_to_module(module, Placed(device))
        add_hook_to_module(model, Placed("cpu", io_same_device=True))
        yield model


@pytest.mark.parametrize("padding", ["none", "left"])
@pytest.mark.parametrize(
    "config",
    [
        TokenSeekConfig(),
        TokenSeekConfig.paper(),
        TokenSeekConfig(selector="saliency", gradient="restart", logits=False),
        TokenSeekConfig(selector="product", exact_blocks=2),
    ],
    ids=["default", "paper", "chunks", "two exact blocks"],
)
def test_a_model_may_lie_on_several_devices(config: TokenSeekConfig, padding: str) -> None:
    with two_devices() as model, apply_tokenseek(model, replace(config, check=False)) as handle:
        batch = {name: torch.empty_like(value) for name, value in tiny_batch(padding).items()}
        with torch.no_grad():
            compared(handle._anatomy, Batch.of(batch))
        model(**batch).loss.backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.device == parameter.device, name
        assert {parameter.device.type for parameter in model.parameters()} == {"cpu", "meta"}


LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "part of a larger product": lambda x: torch.cat([x, x], dim=-1)[..., : x.shape[-1]],
    "every other number": lambda x: x.repeat_interleave(2, dim=-1)[..., ::2],
    "rows before heads": lambda x: x.transpose(1, 2).contiguous().transpose(1, 2),
    "numbers before rows": lambda x: x.transpose(2, 3).contiguous().transpose(2, 3),
    "one head for all": lambda x: x.expand(-1, 4, -1, -1),
    "one of as many heads": lambda x: x.repeat(1, 4, 1, 1)[:, :1].expand(-1, 4, -1, -1),
}
"""Ways that the keys and values of one head may lie in memory, or stand for four."""


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("gradient", ["restart", "inject"])
def test_keys_and_values_may_lie_in_memory_in_any_way(
    monkeypatch: pytest.MonkeyPatch, layout: str, gradient: Any
) -> None:
    def register_lying(backend: str) -> str:
        name = register(backend)
        attention = ALL_ATTENTION_FUNCTIONS[name]

        def lying(
            module: Any, query: Tensor, key: Tensor, value: Tensor, *args: Any, **kw: Any
        ) -> Any:
            return attention(
                module, query, LAYOUTS[layout](key), LAYOUTS[layout](value), *args, **kw
            )

        ALL_ATTENTION_FUNCTIONS.register(name, lying)
        return name

    monkeypatch.setattr("tokenseek_core._own_configs.register", register_lying)
    config = tiny_config("llama")
    config.num_key_value_heads = 1
    model = random_model(AutoModelForCausalLM, config, 0)
    if "head" in layout:  # as a model says that repeats its keys itself
        for module in model.modules():
            if hasattr(module, "num_key_value_groups"):
                vars(module)["num_key_value_groups"] = 1
    spare_float64(monkeypatch)
    assert_exact(model, tiny_batch("left"), always(gradient=gradient, selector="quota"))
