"""Tiny models from their configs, in float64 and without dropout.

Of every family that some package is tested with; its own tests say which those are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from transformers import (
    BartConfig,
    BertConfig,
    CLIPVisionConfig,
    DeiTConfig,
    Dinov2Config,
    DistilBertConfig,
    ElectraConfig,
    Gemma2Config,
    Gemma3Config,
    Gemma3TextConfig,
    GemmaConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    LlavaConfig,
    MistralConfig,
    MixtralConfig,
    ModernBertConfig,
    OPTConfig,
    Phi3Config,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen2VLConfig,
    Qwen3Config,
    Qwen3MoeConfig,
    RobertaConfig,
    SiglipConfig,
    T5Config,
    ViTConfig,
    WhisperConfig,
)

VOCABULARY = 61

_SPECIAL: dict[str, Any] = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
_COMMON = _SPECIAL | {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
}
_WIDE = _COMMON | {"intermediate_size": 48}
_GROUPED = _WIDE | {"num_key_value_heads": 2}
# The grouped kernels have no float64.
_EXPERTS: dict[str, Any] = {"num_experts_per_tok": 2, "experts_implementation": "eager"}
_WINDOWS: dict[str, Any] = {
    "head_dim": 8,
    "query_pre_attn_scalar": 8,
    "sliding_window": 7,
    "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
}
_ENCODER = _WIDE | {
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
    "classifier_dropout": 0.0,
    "num_labels": 3,
}
PICTURE: dict[str, Any] = {"image_size": 16, "patch_size": 4}
"""Of 16 patches."""
_VISION: dict[str, Any] = PICTURE | {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "num_labels": 3,
}
_NO_DROPOUT: dict[str, Any] = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
IMAGE_TOKEN = 60
"""Stands for a patch of a picture in a text."""


def _gpt2() -> GPT2Config:
    return GPT2Config(
        **_SPECIAL,
        vocab_size=VOCABULARY,
        n_embd=32,
        n_layer=3,
        n_head=4,
        n_positions=64,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
    )


def _opt(**settings: Any) -> OPTConfig:
    sizes = _COMMON | {"ffn_dim": 48, "word_embed_proj_dim": 32} | settings
    return OPTConfig(**sizes, dropout=0.0, attention_dropout=0.0)


def _gemma2() -> Gemma2Config:
    """Caps low enough to bend the logits of a tiny model; sdpa knows none."""
    caps = {"attn_logit_softcapping": 0.3, "final_logit_softcapping": 1.5}
    return Gemma2Config(**_GROUPED | _WINDOWS | caps | {"attn_implementation": "eager"})


def _qwen3_moe() -> Qwen3MoeConfig:
    """As many experts as blocks, and one block without experts."""
    experts = {"num_experts": 3, "moe_intermediate_size": 24, "mlp_only_layers": [1]}
    return Qwen3MoeConfig(**_GROUPED | _EXPERTS | experts | {"head_dim": 8})


def _t5() -> T5Config:
    return T5Config(
        vocab_size=VOCABULARY,
        d_model=32,
        d_kv=8,
        d_ff=48,
        num_layers=3,
        num_decoder_layers=2,
        num_heads=4,
        relative_attention_num_buckets=8,
        relative_attention_max_distance=16,
        dropout_rate=0.0,
        pad_token_id=0,
        eos_token_id=2,
        decoder_start_token_id=0,  # type: ignore[call-arg]
    )


def _bart() -> BartConfig:
    return BartConfig(
        **_SPECIAL,
        vocab_size=VOCABULARY,
        d_model=32,
        encoder_layers=3,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=48,
        decoder_ffn_dim=48,
        max_position_embeddings=64,
        dropout=0.0,
        scale_embedding=True,
        decoder_start_token_id=2,
        forced_eos_token_id=None,
    )


def _whisper() -> WhisperConfig:
    return WhisperConfig(
        **_SPECIAL,
        vocab_size=VOCABULARY,
        num_mel_bins=8,
        d_model=32,
        encoder_layers=3,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=48,
        decoder_ffn_dim=48,
        max_source_positions=20,
        max_target_positions=30,
        dropout=0.0,
        decoder_start_token_id=1,
    )


def _distilbert() -> DistilBertConfig:
    return DistilBertConfig(
        vocab_size=VOCABULARY,
        dim=32,
        n_layers=3,
        n_heads=4,
        hidden_dim=48,
        max_position_embeddings=64,
        dropout=0.0,
        attention_dropout=0.0,
        seq_classif_dropout=0.0,
        qa_dropout=0.0,
        pad_token_id=0,
        num_labels=3,  # type: ignore[call-arg]
    )


def _modernbert() -> ModernBertConfig:
    windows = {"local_attention": 8, "cls_token_id": 1, "sep_token_id": 2, "num_labels": 3}
    return ModernBertConfig(**_WIDE | windows)


def _siglip() -> SiglipConfig:
    text = _WIDE | {"num_hidden_layers": 2}
    return SiglipConfig(vision_config=_VISION, text_config=text, num_labels=3)  # type: ignore[call-arg]


def _llava() -> LlavaConfig:
    tower = CLIPVisionConfig(**_VISION | {"num_hidden_layers": 2})
    return LlavaConfig(
        text_config=LlamaConfig(**_GROUPED),
        vision_config=tower,
        image_token_index=IMAGE_TOKEN,
        image_seq_length=16,
    )


def _gemma3() -> Gemma3Config:
    tower = _VISION | {"num_hidden_layers": 2}
    return Gemma3Config(
        text_config=Gemma3TextConfig(**_GROUPED | _WINDOWS),
        vision_config=tower,
        mm_tokens_per_image=16,
        image_token_index=IMAGE_TOKEN,
    )


def _qwen2_vl() -> Qwen2VLConfig:
    """Pictures of 8 x 8 patches that stand for 16 tokens; positions of three axes."""
    rope = {"rope_type": "default", "mrope_section": [2, 1, 1], "rope_theta": 1e4}
    vision = {
        "depth": 2,
        "embed_dim": 16,
        "num_heads": 2,
        "hidden_size": 32,
        "patch_size": 2,
        "temporal_patch_size": 1,
        "mlp_ratio": 2,
    }
    return Qwen2VLConfig(
        text_config=_GROUPED | {"rope_parameters": rope},
        vision_config=vision,
        image_token_id=IMAGE_TOKEN,
        video_token_id=59,
        vision_start_token_id=58,
        vision_end_token_id=57,
    )


# Named by the model type; what follows a hyphen is a variant of it.
_CONFIGS: dict[str, Callable[[], PreTrainedConfig]] = {
    "llama": lambda: LlamaConfig(**_GROUPED),
    "llama-tied": lambda: LlamaConfig(**_GROUPED, tie_word_embeddings=True),
    "qwen2": lambda: Qwen2Config(**_GROUPED),
    "qwen3": lambda: Qwen3Config(**_GROUPED, head_dim=8),
    "qwen3_moe": _qwen3_moe,
    "mistral": lambda: MistralConfig(**_GROUPED, sliding_window=7),
    "mixtral": lambda: MixtralConfig(**_GROUPED | _EXPERTS | {"num_local_experts": 3}),
    "gemma": lambda: GemmaConfig(**_GROUPED, head_dim=8),
    "gemma2": _gemma2,
    "gemma3_text": lambda: Gemma3TextConfig(**_GROUPED | _WINDOWS),
    "phi3": lambda: Phi3Config(**_GROUPED | {"partial_rotary_factor": 0.5}),
    "gpt2": _gpt2,
    "gpt_neox": lambda: GPTNeoXConfig(**_WIDE | {"rotary_pct": 0.5}),
    "opt": _opt,
    "opt-projected": lambda: _opt(word_embed_proj_dim=16, do_layer_norm_before=False),
    "t5": _t5,
    "bart": _bart,
    "bert": lambda: BertConfig(**_ENCODER),
    "roberta": lambda: RobertaConfig(**_ENCODER | {"type_vocab_size": 2}),
    "distilbert": _distilbert,
    "electra": lambda: ElectraConfig(**_ENCODER, embedding_size=16),
    "modernbert": _modernbert,
    "vit": lambda: ViTConfig(**_VISION, **_NO_DROPOUT),
    "deit": lambda: DeiTConfig(**_VISION, **_NO_DROPOUT),
    "dinov2": lambda: Dinov2Config(**_VISION, **_NO_DROPOUT),
    "siglip": _siglip,
    "whisper": _whisper,
    "gemma3": _gemma3,
    "llava": _llava,
    "qwen2_vl": _qwen2_vl,
}

FAMILIES = tuple(_CONFIGS)


def tiny_config(family: str, **settings: Any) -> PreTrainedConfig:
    """The config of a tiny model."""
    config = _CONFIGS[family]()
    for name, value in settings.items():
        setattr(config, name, value)
    return config


def random_model(head: Any, config: PreTrainedConfig, seed: int = 0) -> PreTrainedModel:
    """A randomly initialised model in training mode, the same for the same seed.

    `head` is one of transformers' Auto classes.
    """
    torch.default_generator.manual_seed(seed)  # torch.manual_seed notes a stack for each device
    model: PreTrainedModel = head.from_config(config)
    for parameter in model.parameters():  # norms and biases too, so that every gradient is general
        parameter.data.add_(torch.randn_like(parameter) * 0.1)
    model.double().train()
    return model


def checkpointed(model: PreTrainedModel, enable: bool = True, **settings: Any) -> PreTrainedModel:
    """Switch gradient checkpointing by the name that this version of transformers gives it."""
    name = next(
        n for n in ("activation", "gradient") if hasattr(model, f"{n}_checkpointing_enable")
    )
    if enable:
        arguments = {f"{name}_checkpointing_kwargs": settings} if settings else {}
        getattr(model, f"{name}_checkpointing_enable")(**arguments)
    else:
        getattr(model, f"{name}_checkpointing_disable")()
    return model
