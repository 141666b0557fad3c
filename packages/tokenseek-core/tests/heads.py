"""Encoders, towers for pictures and models of text and pictures, each under heads of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    AutoModelForImageClassification,
    AutoModelForImageTextToText,
    AutoModelForMaskedLM,
    AutoModelForMultipleChoice,
    AutoModelForPreTraining,
    AutoModelForQuestionAnswering,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoModelForSpeechSeq2Seq,
    AutoModelForTokenClassification,
    PreTrainedModel,
)

from families import SEVERAL, tiny_batch
from slow_inject import find_blocks, slow_inject
from slow_reference import gradients, relative_error, shifted, slow_attention, slow_loss
from taken import Taken, take_step
from tiny_models import IMAGE_TOKEN, PICTURE, random_model, tiny_config
from tokenseek_core import TokenSeekConfig

BOUND = 1e-10


def _texts(padding: str) -> dict[str, Tensor]:
    """Three instances, without labels and positions."""
    batch = tiny_batch(padding)
    return {name: batch[name] for name in ("input_ids", "attention_mask") if name in batch}


def _masked(padding: str) -> dict[str, Tensor]:
    return {name: value for name, value in tiny_batch(padding).items() if name != "position_ids"}


def _sequences(padding: str) -> dict[str, Tensor]:
    return _texts(padding) | {"labels": torch.tensor([0, 2, 1])}


def _tokens(padding: str) -> dict[str, Tensor]:
    labels = tiny_batch(padding)["labels"]
    return _texts(padding) | {"labels": torch.where(labels == -100, labels, labels % 3)}


def _spans(padding: str) -> dict[str, Tensor]:
    first = torch.tensor([15, 14, 14] if padding == "left" else [1, 2, 3])
    return _texts(padding) | {"start_positions": first, "end_positions": first + 3}


def _choices(padding: str) -> dict[str, Tensor]:
    texts = {name: value[:2].repeat(3, 1).view(2, 3, 20) for name, value in _texts(padding).items()}
    return texts | {"labels": torch.tensor([0, 2])}


def _pretraining(padding: str) -> dict[str, Tensor]:
    return _masked(padding) | {"next_sentence_label": torch.tensor([0, 1, 1])}


def _pictures(padding: str) -> dict[str, Tensor]:
    size = PICTURE["image_size"]
    pictures = torch.randn((3, 3, size, size), generator=torch.Generator().manual_seed(1))
    return {"pixel_values": pictures.double(), "labels": torch.tensor([0, 2, 1])}


def _texts_with_pictures(padding: str) -> dict[str, Tensor]:
    """Sixteen tokens stand for a picture, in front of a text."""
    batch = tiny_batch("right" if padding == "right" else "none")
    image = torch.full((3, 16), IMAGE_TOKEN)
    told = {
        "input_ids": torch.cat([image, batch["input_ids"] % 50 + 1], dim=1),
        "labels": torch.cat([torch.full((3, 16), -100), batch["labels"]], dim=1),
    }
    if "attention_mask" in batch:
        told["attention_mask"] = torch.cat([torch.ones_like(image), batch["attention_mask"]], 1)
    return told


def _llava(padding: str) -> dict[str, Tensor]:
    return _texts_with_pictures(padding) | {"pixel_values": _pictures("")["pixel_values"]}


def _gemma3(padding: str) -> dict[str, Tensor]:
    """Tokens of a picture see each other, those of a text the past."""
    told = _llava(padding)
    return told | {"token_type_ids": (told["input_ids"] == IMAGE_TOKEN).long()}


def _qwen2_vl(padding: str) -> dict[str, Tensor]:
    """Three pictures of 8 x 8 patches, which the tower folds to sixteen tokens each."""
    told = _texts_with_pictures(padding)
    patches = torch.randn((3 * 64, 12), generator=torch.Generator().manual_seed(1)).double()
    return told | {
        "mm_token_type_ids": (told["input_ids"] == IMAGE_TOKEN).long(),
        "pixel_values": patches,
        "image_grid_thw": torch.tensor([[1, 8, 8]] * 3),
    }


def _answers() -> dict[str, Tensor]:
    """Labels of a decoder, of which some end early."""
    labels = torch.randint(3, 61, (3, 12), generator=torch.Generator().manual_seed(1))
    labels[1, 9:] = labels[2, 5:] = -100
    return {"labels": labels}


def _texts_to_texts(padding: str) -> dict[str, Tensor]:
    return _texts(padding) | _answers()


def _sounds(padding: str) -> dict[str, Tensor]:
    """Of 40 frames, which make 20 rows."""
    sounds = torch.randn((3, 8, 40), generator=torch.Generator().manual_seed(1))
    return {"input_features": sounds.double()} | _answers()


@dataclass(frozen=True)
class Task:
    """What a model learns: its head, a batch of it by the side of its padding, and where a row's
    target stands; None where the loss is the model's own.
    """

    head: Any
    batch: Callable[[str], dict[str, Tensor]]
    target: Callable[[Tensor], Tensor] | None = None


def _own(labels: Tensor) -> Tensor:
    return labels


TASKS = {
    "masked": Task(AutoModelForMaskedLM, _masked, _own),
    "sequence": Task(AutoModelForSequenceClassification, _sequences),
    "token": Task(AutoModelForTokenClassification, _tokens),
    "span": Task(AutoModelForQuestionAnswering, _spans),
    "choice": Task(AutoModelForMultipleChoice, _choices),
    "pretraining": Task(AutoModelForPreTraining, _pretraining),
    "picture": Task(AutoModelForImageClassification, _pictures),
    "text": Task(AutoModelForSeq2SeqLM, _texts_to_texts, _own),
    "sound": Task(AutoModelForSpeechSeq2Seq, _sounds, _own),
    "gemma3": Task(AutoModelForImageTextToText, _gemma3, shifted),
    "llava": Task(AutoModelForImageTextToText, _llava, shifted),
    "qwen2_vl": Task(AutoModelForImageTextToText, _qwen2_vl, shifted),
}

TEXT = ("bert", "roberta", "distilbert", "electra", "modernbert")
VISION = ("vit", "deit", "dinov2", "siglip")

CASES = [
    *((family, task) for family in TEXT for task in ("masked", "sequence", "token", "span")),
    ("bert", "choice"),
    ("bert", "pretraining"),
    *((family, "picture") for family in VISION),
    *((family, family) for family in SEVERAL),
    ("llama", "sequence"),
    ("gpt2", "token"),
    ("bart", "text"),
    ("t5", "text"),
    ("whisper", "sound"),
]


def headed(family: str, task: str, **settings: Any) -> PreTrainedModel:
    """A tiny model with the head of a task."""
    settings["num_labels"] = 2 if task == "span" else 3
    config = tiny_config(family, **settings, classifier_dropout=0.0)
    config.architectures = []  # of several heads, None takes no first one
    return random_model(TASKS[task].head, config)


def attending(model: PreTrainedModel) -> PreTrainedModel:
    """The part whose tokens are selected."""
    part = model.get_decoder() if model.config.model_type in SEVERAL else model
    assert isinstance(part, PreTrainedModel)
    return part


def slow_whole(
    model: PreTrainedModel, batch: dict[str, Tensor], keep: Tensor, importance: Tensor | None
) -> Tensor:
    """The model's own loss, whose head reads constants in place of the rows that are not kept.

    `importance`, where it is given, weighs the gradient of the others.
    """

    def hold(module: nn.Module, args: Any, output: Any) -> Tensor:
        assert isinstance(output, Tensor)
        still = output.detach()
        weights = torch.ones_like(keep, dtype=output.dtype) if importance is None else importance
        live = still + (output - still) * weights[..., None]
        return torch.where(keep[..., None], live, still)

    hook = find_blocks(model)[-1].register_forward_hook(hold)
    with slow_attention(model, keep):
        loss: Tensor = model(**batch).loss
    hook.remove()
    return loss


def slow(
    model: PreTrainedModel,
    task: str,
    batch: dict[str, Tensor],
    taken: Taken,
    config: TokenSeekConfig,
) -> Tensor:
    """Leave the gradients of the slow reference in `.grad`, and return its loss."""
    target, part = TASKS[task].target, attending(model)
    if taken.source is not None:  # the model makes a decoder's tokens of labels, if it has them
        start, pad = model.config.decoder_start_token_id, model.config.pad_token_id
        tokens = torch.nn.functional.pad(batch["labels"][:, :-1], (1, 0), value=start)
        batch = batch | {"decoder_input_ids": tokens.masked_fill(tokens == -100, pad)}
    weights = taken.importance if config.selector == "sampled" else None
    settings: dict[str, Any] = {
        "importance": weights,
        "target": target,
        "attending": part,
        "source": taken.source,
    }
    if config.gradient == "inject":
        of_source = taken.source_importance if config.selector == "sampled" else None
        return slow_inject(model, batch, taken.keep, **settings, source_importance=of_source)
    if target is not None:
        loss = slow_loss(model, batch, taken.keep, **settings)
    else:
        loss = slow_whole(model, batch, taken.keep, weights)
    loss.backward()
    return loss.detach()


def assert_reference(
    model: PreTrainedModel,
    task: str,
    batch: dict[str, Tensor],
    taken: Taken,
    config: TokenSeekConfig,
    outer: nn.Module | None = None,
) -> None:
    """Compare loss and gradients of a step with the slow reference."""
    loss = float(slow(model, task, batch, taken, config))
    assert abs(taken.loss - loss) < BOUND * abs(loss)
    assert relative_error(taken.gradients, gradients(outer or model)) < BOUND


def assert_exact_step(
    model: PreTrainedModel, task: str, batch: dict[str, Tensor], config: TokenSeekConfig
) -> Taken:
    """Take a step, and compare it."""
    taken = take_step(model, batch, config)
    assert_reference(model, task, batch, taken, config)
    return taken
