"""The head under which a model of a config is trained first of all, and a small batch for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    AutoModelForImageClassification,
    AutoModelForImageTextToText,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoModelForSpeechSeq2Seq,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.models.auto import modeling_auto as auto

from tokenseek_core._anatomy import has_several_parts

TOKENS = 24
"""Length of the batch that the self-check replays rows of."""


def head_of(config: PreTrainedConfig) -> Any | None:
    """The Auto class of transformers for the model; None where it has no such head."""
    kind = config.model_type
    encodes = not getattr(config, "is_decoder", False)
    several = has_several_parts(config)
    translates = getattr(config, "is_encoder_decoder", False)
    heads: list[tuple[bool, Mapping[str, object], Any]] = [
        (
            translates,
            auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
            AutoModelForSeq2SeqLM,
        ),
        (
            translates,
            auto.MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES,
            AutoModelForSpeechSeq2Seq,
        ),
        (several, auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES, AutoModelForImageTextToText),
        (
            not several and encodes,
            auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES,
            AutoModelForMaskedLM,
        ),
        (not several, auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, AutoModelForCausalLM),
        (
            True,
            auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES,
            AutoModelForImageClassification,
        ),
        (
            not several,
            auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
            AutoModelForSequenceClassification,
        ),
    ]
    return next((head for fits, names, head in heads if fits and kind in names), None)


def small_batch(model: PreTrainedModel) -> dict[str, Tensor]:
    """Two instances to take a step on: pictures, or texts of which one is padded.

    Decoders are padded on the left, without position ids; of encoders, the first token stands for
    a whole text.
    """
    if model.main_input_name == "pixel_values" and model.get_output_embeddings() is None:
        own = getattr(model.config, "vision_config", model.config)
        size = own.image_size if isinstance(own.image_size, int) else max(own.image_size)
        shape = (2, getattr(own, "num_channels", 3), size, size)
        return {"pixel_values": torch.randn(shape), "labels": torch.zeros(2, dtype=torch.long)}
    if model.main_input_name == "input_features":
        own = model.config
        sounds = torch.randn((2, own.num_mel_bins, 2 * own.max_source_positions))
        written = torch.randint(1, own.vocab_size, (2, TOKENS))
        return {"input_features": sounds, "decoder_input_ids": written, "labels": written}
    vocabulary = model.config.get_text_config().vocab_size
    ids = torch.randint(1, vocabulary, (2, TOKENS))
    mask = torch.ones_like(ids)
    if model.config.model_type in auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES:
        mask[1, -(TOKENS // 4) :] = 0
    else:
        mask[1, : TOKENS // 4] = 0
    labels = ids.masked_fill(mask == 0, -100)
    if model.get_output_embeddings() is None:
        labels = torch.zeros(2, dtype=torch.long)
    batch = {"input_ids": ids, "attention_mask": mask, "labels": labels}
    if getattr(model.config, "is_encoder_decoder", False):
        batch["decoder_input_ids"] = ids
    if model.config.model_type == "gemma3":  # asks in training which tokens are a picture's
        batch["token_type_ids"] = torch.zeros_like(ids)
    return batch
