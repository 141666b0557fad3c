"""What single families of decoders need: caps, experts, positions, frequencies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    BartConfig,
    BartForCausalLM,
    LlamaConfig,
    OPTConfig,
    OPTForCausalLM,
    Phi3Config,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.gemma2 import modeling_gemma2

from families import FAMILIES, tiny_batch, tiny_model
from float64 import spare_float64
from slow_reference import gradients, relative_error, slow_loss
from taken import always, take_step
from tiny_models import tiny_config
from tokenseek_common import InputError
from tokenseek_core import Signals, TokenSeekConfig, apply_tokenseek
from tokenseek_core._anatomy import Anatomy, find_blocks
from tokenseek_core._families import FAMILIES as REGISTERED
from tokenseek_core._families import family_names

BOUND = 1e-10


def early(signals: Signals) -> Tensor:
    """Keep the first tokens."""
    return -signals.valid.cumsum(1).double()


def assert_equals_reference(
    model: PreTrainedModel, batch: dict[str, Tensor], settings: TokenSeekConfig
) -> None:
    taken = take_step(model, batch, settings)
    slow_loss(model, batch, taken.keep).backward()
    assert relative_error(taken.gradients, gradients(model)) < BOUND


def test_every_family_is_named_where_a_sentence_lists_them() -> None:
    names = family_names()
    assert all(family.name in names for family in REGISTERED.values())
    assert names.endswith(" and SigLIP (vision tower)")


def test_the_readme_lists_every_family() -> None:
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    table = readme[readme.index("| tested family |") :].split("\n\n")[0]
    for model_type, family in REGISTERED.items():
        assert any(
            family.name in line and f"`{model_type}`" in line for line in table.splitlines()
        ), model_type


@pytest.mark.parametrize("family", FAMILIES)
def test_rows_pass_the_head_with_its_caps(family: str) -> None:
    model = tiny_model(family).eval()
    anatomy = Anatomy.of(model, model)
    finals: list[Tensor] = []

    def look(module: nn.Module, args: Any, output: Any) -> None:
        finals.append(output.last_hidden_state)

    hook = anatomy.backbone.register_forward_hook(look)
    expected = model(tiny_batch()["input_ids"]).logits
    hook.remove()
    assert torch.allclose(anatomy.head(finals[0]), expected, rtol=1e-12)
    cap = getattr(model.config, "final_logit_softcapping", None)
    assert cap is None or 0.5 * cap < expected.abs().max() < cap


def test_the_context_score_honours_the_softcap(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("gemma2")
    spare_float64(monkeypatch)
    batch = tiny_batch()
    attention = model(batch["input_ids"], output_attentions=True).attentions[-1]  # [b, n_h, s, s]
    seen: list[Tensor] = []

    def look(signals: Signals) -> Tensor:
        seen.append(signals.context)
        return signals.context

    take_step(model, batch, always(selector=look))
    assert torch.allclose(seen[0], attention.mean(1).sum(1), rtol=1e-10)
    for module in model.modules():
        if isinstance(module, modeling_gemma2.Gemma2Attention):
            module.attn_logit_softcapping = None
    uncapped = model(batch["input_ids"], output_attentions=True).attentions[-1]
    assert not torch.allclose(seen[0], uncapped.mean(1).sum(1), rtol=1e-2)


@pytest.mark.parametrize("padding", ["none", "right"])
def test_a_cap_that_a_kernel_applies_is_applied_in_the_replay(
    monkeypatch: pytest.MonkeyPatch, padding: str
) -> None:
    """No kernel with a cap runs on a CPU; this one stands for it, with masks of its kind."""

    def kernel(
        module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Any, **kwargs: Any
    ) -> Any:
        s = query.shape[2]
        allowed = torch.ones((s, s), dtype=torch.bool).tril()
        if kwargs["sliding_window"] is not None:
            allowed &= ~allowed.tril(-kwargs["sliding_window"])
        if mask is not None:
            allowed = allowed & mask[:, None, None, :].bool()
        additive = torch.zeros(allowed.shape, dtype=query.dtype).masked_fill(
            ~allowed, torch.finfo(query.dtype).min
        )
        return modeling_gemma2.eager_attention_forward(
            module, query, key, value, additive, **kwargs
        )

    model = tiny_model("gemma2")
    spare_float64(monkeypatch)
    monkeypatch.setitem(ALL_ATTENTION_FUNCTIONS._global_mapping, "flash_attention_2", kernel)
    model.config._attn_implementation_internal = "flash_attention_2"
    taken = take_step(model, tiny_batch(padding), always())
    model.config._attn_implementation_internal = "eager"
    slow_loss(model, tiny_batch(padding), taken.keep).backward()
    assert relative_error(taken.gradients, gradients(model)) < BOUND


def test_a_cap_that_sdpa_would_drop_is_refused() -> None:
    model = tiny_model("gemma2")
    model.config._attn_implementation_internal = "sdpa"
    text = r"attn_implementation \(sdpa\) must know softcap, which Gemma2Attention gives it; load"
    with apply_tokenseek(model, always()), pytest.raises(InputError, match=text):
        model(**tiny_batch())


def test_attention_with_a_bias_for_each_key_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("llama")
    attend = ALL_ATTENTION_FUNCTIONS["sdpa"]
    with apply_tokenseek(model, always()):
        ours = ALL_ATTENTION_FUNCTIONS["tokenseek_sdpa"]

        def biased(*args: Any, **kwargs: Any) -> Any:
            return ours(*args, **kwargs, position_bias=torch.zeros(1))

        monkeypatch.setitem(ALL_ATTENTION_FUNCTIONS._global_mapping, "tokenseek_sdpa", biased)
        with pytest.raises(InputError, match="must not give attention position_bias"):
            model(**tiny_batch())
    assert ALL_ATTENTION_FUNCTIONS["sdpa"] is attend


def test_a_list_of_experts_is_not_taken_for_the_blocks() -> None:
    model = tiny_model("llama")
    depth = model.config.num_hidden_layers
    for block in model.get_submodule("model.layers").children():
        block.experts = nn.ModuleList(nn.Linear(2, 2) for _ in range(depth))
    assert find_blocks(model.base_model, model) is model.get_submodule("model.layers")


@pytest.mark.parametrize("family", ["qwen3_moe", "mixtral"])
@pytest.mark.parametrize("where", ["argument", "config"])
def test_the_load_balancing_loss_is_refused(family: str, where: str) -> None:
    model = tiny_model(family)
    batch: dict[str, Any] = dict(tiny_batch("right"))
    if where == "argument":
        batch["output_router_logits"] = True
    else:
        model.config.output_router_logits = True
    with (
        apply_tokenseek(model, always()),
        pytest.raises(InputError, match="output_router_logits must be unset in a TokenSeek step"),
    ):
        model(**batch)


@pytest.mark.parametrize("family", ["qwen3_moe", "mixtral"])
def test_experts_that_tie_are_chosen_alike_in_both_passes(
    monkeypatch: pytest.MonkeyPatch, family: str
) -> None:
    model = tiny_model(family)
    spare_float64(monkeypatch)
    for module in model.modules():
        if type(module).__name__.endswith("Router"):
            weight = module.get_parameter("weight").data
            weight[1:] = weight[:1]
    assert_equals_reference(model, tiny_batch("left"), always())


@pytest.mark.parametrize("family", ["qwen3_moe", "mixtral"])
def test_grouped_kernels_of_experts_replay_to_their_rounding(family: str) -> None:
    if not hasattr(torch.nn.functional, "grouped_mm"):
        pytest.skip("this torch groups no experts on a CPU")
    settings = tiny_config(family)
    settings._experts_implementation = "grouped_mm"
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(settings).train()
    batch = tiny_batch("left")
    taken = take_step(model, batch, always())
    assert model.config._experts_implementation == "grouped_mm"
    slow_loss(model, batch, taken.keep).backward()
    assert relative_error(taken.gradients, gradients(model)) < 1e-4


@pytest.mark.parametrize("kind", ["longrope", "dynamic"])
def test_frequencies_are_those_of_the_whole_batch(
    monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Only early tokens are kept, whose positions alone would call for the short frequencies."""
    rope: dict[str, Any] = {"rope_type": kind, "rope_theta": 10000.0}
    settings: PreTrainedConfig
    if kind == "longrope":
        rope |= {"short_factor": [1.0] * 4, "long_factor": [3.0, 5.0, 7.0, 9.0]}
        rope |= {"original_max_position_embeddings": 12}
        sizes = tiny_config("phi3").to_dict() | {"partial_rotary_factor": 1.0}
        settings = Phi3Config(**sizes | {"rope_parameters": rope})
    else:
        rope |= {"factor": 4.0}
        sizes = tiny_config("llama").to_dict() | {"max_position_embeddings": 12}
        settings = LlamaConfig(**sizes | {"rope_parameters": rope})
    model = AutoModelForCausalLM.from_config(settings).double().train()
    spare_float64(monkeypatch)
    assert_equals_reference(model, tiny_batch("right"), always(selector=early))


def test_a_model_that_drops_layers_is_refused() -> None:
    settings = OPTConfig(**tiny_config("opt").to_dict() | {"layerdrop": 0.1})
    with pytest.raises(InputError, match=r"layerdrop \(0.1\) must be 0"):
        apply_tokenseek(OPTForCausalLM(settings))


def test_a_model_that_takes_no_position_ids_is_refused() -> None:
    settings = BartConfig(
        vocab_size=61,
        d_model=16,
        decoder_layers=2,
        decoder_attention_heads=2,
        decoder_ffn_dim=16,
        is_decoder=True,
        is_encoder_decoder=False,
    )
    with pytest.raises(InputError, match=r"model \(BartForCausalLM\) must take position_ids"):
        apply_tokenseek(BartForCausalLM(settings))


def test_opt_records_the_positions_that_it_makes_of_the_mask() -> None:
    model = tiny_model("opt")
    batch = tiny_batch("left")
    del batch["position_ids"]
    seen: list[Tensor] = []

    def look(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        seen.append(kwargs["position_ids"])

    hook = model.get_submodule("model.decoder.layers.0").register_forward_pre_hook(
        look, with_kwargs=True
    )
    with apply_tokenseek(model, always(selector=early, check=False)) as handle:
        model(**batch)
        assert handle.last is not None
    hook.remove()
    whole, rows = seen
    mask = batch["attention_mask"]
    assert torch.equal(whole, mask.cumsum(1) * mask - 1)
    assert rows[0].tolist() == list(range(6))
    # The first that has a target is kept whatever its score.
    assert rows[1][handle.last.active[1]].tolist() == [0, 1, 2, 4]
