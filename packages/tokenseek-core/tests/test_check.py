from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import DogeConfig, DogeForCausalLM, Lfm2Config, Lfm2ForCausalLM

from families import FAMILIES, tiny_batch, tiny_model
from float64 import spare_float64
from heads import TASKS, headed
from taken import always
from tokenseek_common import InputError
from tokenseek_core import apply_tokenseek
from tokenseek_core._anatomy import Anatomy
from tokenseek_core._apply import TokenSeekHandle
from tokenseek_core._batch import Batch
from tokenseek_core._check import self_check


class Neighbour(nn.Module):
    """Mixes each token with the one before it, as a short convolution would."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, hidden: Tensor) -> Tensor:
        mixed: Tensor = self.inner(hidden + 0.1 * hidden.roll(1, dims=1))
        return mixed


def anatomy(handle: TokenSeekHandle) -> Anatomy:
    return handle._anatomy


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("padding", ["none", "left", "right"])
def test_supported_families_pass_the_check_to_rounding(
    monkeypatch: pytest.MonkeyPatch, family: str, padding: str
) -> None:
    model = tiny_model(family)
    spare_float64(monkeypatch)  # eager attention rounds float64 masks to infinity
    with apply_tokenseek(model, always()) as handle:
        deviation = self_check(anatomy(handle), Batch.of(tiny_batch(padding)))
    assert deviation < 1e-10
    assert all(module.training for module in model.modules())


def test_dropout_does_not_disturb_the_check() -> None:
    model = tiny_model("gpt2")
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.5
    with apply_tokenseek(model, always()) as handle:
        output = model(**tiny_batch())
        output.loss.backward()
        assert handle.last is not None
    assert output.loss.isfinite()


def test_mixing_outside_attention_is_found_before_the_first_step() -> None:
    model = tiny_model("llama")
    model.get_submodule("model.layers.1").mlp = Neighbour(model.get_submodule("model.layers.1.mlp"))
    with (
        apply_tokenseek(model, always()),
        pytest.raises(InputError, match="must mix tokens in attention only: replayed rows differ"),
    ):
        model(**tiny_batch())
    assert all(p.grad is None for p in model.parameters())
    assert all(module.training for module in model.modules())


def test_layers_that_pack_their_weights_for_inference_are_not_told_to_evaluate() -> None:
    class Packing(nn.Linear):
        __module__ = "bitsandbytes.nn.modules"

        def forward(self, input: Tensor) -> Tensor:
            assert self.training
            return super().forward(input)

    model = tiny_model("llama")
    linear = model.get_submodule("model.layers.1.mlp.up_proj")
    linear.__class__ = Packing
    with apply_tokenseek(model, always()) as handle:
        self_check(anatomy(handle), Batch.of(tiny_batch()))
    assert linear.training


NOT_FINITE = (
    "model ({}) must compute finite numbers, but has NaN or infinities in {} of the full pass, "
    "without TokenSeek too; look for them in its weights, or leave padding out, of which eager "
    "attention makes NaN in float64"
)


@pytest.mark.parametrize("padding", ["left", "right"])
def test_nan_of_the_model_itself_is_told_as_nan(padding: str) -> None:
    model = tiny_model("gemma2")
    assert model(**tiny_batch(padding)).loss.isnan()
    with apply_tokenseek(model, always()), pytest.raises(InputError) as error:
        model(**tiny_batch(padding))
    assert str(error.value) == NOT_FINITE.format("Gemma2ForCausalLM", "final hidden states")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_told_as_such(value: float) -> None:
    model = tiny_model("llama")
    with torch.no_grad():
        model.get_parameter("model.layers.1.mlp.down_proj.weight")[3, 4] = value
    with apply_tokenseek(model, always()), pytest.raises(InputError) as error:
        model(**tiny_batch())
    assert str(error.value) == NOT_FINITE.format("LlamaForCausalLM", "final hidden states")


def test_gradients_that_are_no_numbers_are_told_as_such() -> None:
    class Rooted(nn.Module):
        """A root, of which 0 has no slope, of what is 0 everywhere."""

        def forward(self, hidden: Tensor) -> Tensor:
            return hidden + (hidden - hidden.detach()).sqrt()

    model = tiny_model("llama")
    norm = model.get_submodule("model.norm")
    model.get_submodule("model").norm = nn.Sequential(norm, Rooted())
    with apply_tokenseek(model, always()), pytest.raises(InputError) as error:
        model(**tiny_batch())
    assert str(error.value) == NOT_FINITE.format("LlamaForCausalLM", "a gradient")


def test_short_convolutions_are_found() -> None:
    torch.manual_seed(0)
    model = Lfm2ForCausalLM(
        Lfm2Config(
            vocab_size=61,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=3,
            num_attention_heads=4,
            num_key_value_heads=2,
            layer_types=["conv", "full_attention", "conv"],
            pad_token_id=0,
        )
    ).train()
    with apply_tokenseek(model, always(selector="random")), pytest.raises(InputError):
        model(**tiny_batch())


def test_a_mask_that_gradients_flow_through_is_found() -> None:
    torch.manual_seed(0)
    config = DogeConfig(
        vocab_size=61,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    model = DogeForCausalLM(config).train()
    text = "must learn through queries, keys and values of attention only, not through its mask"
    with apply_tokenseek(model, always()), pytest.raises(InputError, match=text):
        model(**tiny_batch())


def test_a_gradient_that_goes_another_way_than_through_attention_is_found() -> None:
    """Values equal those of the replay, gradients do not."""

    class Leak(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, hidden: Tensor) -> Tensor:
            before = hidden.roll(1, dims=1)
            leaked: Tensor = self.inner(hidden) + before - before.detach()
            return leaked

    model = tiny_model("llama")
    model.get_submodule("model.layers.2").mlp = Leak(model.get_submodule("model.layers.2.mlp"))
    batch = tiny_batch("left")
    text = (
        r"must learn through queries, keys and values of attention only: the gradient of replayed"
    )
    with apply_tokenseek(model, always()), pytest.raises(InputError, match=text):
        model(**batch)


def test_the_check_can_be_left_out() -> None:
    model = tiny_model("llama")
    model.get_submodule("model.layers.1").mlp = Neighbour(model.get_submodule("model.layers.1.mlp"))
    with apply_tokenseek(model, always(check=False)) as handle:
        model(**tiny_batch())
        assert handle.last is not None


def test_the_check_runs_once() -> None:
    model = tiny_model("llama")
    calls: list[int] = []
    with apply_tokenseek(model, always(selector="random")):
        hook = model.base_model.register_forward_hook(lambda *_: calls.append(1))
        model(**tiny_batch())
        assert len(calls) == 4  # check: record and replay; step: record and replay
        model(**tiny_batch())
        assert len(calls) == 6
        hook.remove()


def test_what_a_model_adds_between_its_blocks_for_all_rows_is_refused() -> None:
    model = headed("bert", "sequence")
    mark = torch.zeros((20, 1), dtype=torch.float64)

    def add(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return (args[0] + mark, *args[1:])

    model.get_submodule("bert.encoder.layer.1").register_forward_pre_hook(add)
    text = (
        r"model \(BertForSequenceClassification\) must run some of its rows as it runs all, but "
        r"fails \(The size of tensor a \(5\) must match .*\); train it without TokenSeek"
    )
    with apply_tokenseek(model, always()), pytest.raises(InputError, match=text):
        model(**TASKS["sequence"].batch("none"))
