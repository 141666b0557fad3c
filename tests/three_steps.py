"""A training step of each library, on one model of each, and of the two that share a model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from promotion import LossConfig, ProMotion, ProMotionConfig, losses
from promotion.datasets import Sample
from tiny import tuned
from tiny_models import VOCABULARY, random_model, tiny_config
from tokenseek_core import TokenSeekConfig, apply_tokenseek

Loss = Callable[[nn.Module, int], Tensor]
"""The loss of a model, or of a wrapper of it, on the batch of a seed."""


@contextmanager
def sought() -> Iterator[tuple[nn.Module, Loss]]:
    """A language model under TokenSeek."""
    model = language_model()
    with apply_tokenseek(model, TokenSeekConfig(ratio=0.3, selector="gradient")):
        yield model, language_loss


@contextmanager
def prompted() -> Iterator[tuple[nn.Module, Loss]]:
    """A language model with prompts."""
    yield tuned(language_model()), language_loss


@contextmanager
def both() -> Iterator[tuple[nn.Module, Loss]]:
    """A language model with prompts under TokenSeek."""
    model = tuned(language_model())
    with apply_tokenseek(model, TokenSeekConfig(ratio=0.3, selector="gradient")):
        yield model, language_loss


@contextmanager
def moving() -> Iterator[tuple[nn.Module, Loss]]:
    """A model of flow and depth."""
    torch.manual_seed(0)
    yield ProMotion(ProMotionConfig.size("nano")).double().train(), motion_loss


STEPS: dict[str, Callable[[], AbstractContextManager[tuple[nn.Module, Loss]]]] = {
    "tokenseek": sought,
    "mept": prompted,
    "tokenseek on mept": both,
    "promotion": moving,
}


def language_model() -> Any:
    """A tiny Llama."""
    return random_model(AutoModelForCausalLM, tiny_config("llama"))


def language_loss(model: nn.Module, seed: int) -> Tensor:
    """The loss on three texts, whose first five tokens are no targets."""
    torch.manual_seed(seed)
    ids = torch.randint(3, VOCABULARY, (3, 20))
    labels = ids.masked_fill(torch.arange(20) < 5, -100)
    loss: Tensor = model(input_ids=ids, labels=labels).loss
    return loss


def motion_loss(model: nn.Module, seed: int) -> Tensor:
    """The loss on a pair of pictures of noise."""
    torch.manual_seed(seed)
    image1, image2 = torch.rand(2, 2, 3, 32, 40, dtype=torch.float64)
    known = torch.ones(2, 32, 40, dtype=torch.bool)
    flow, depth = torch.randn(2, 2, 32, 40).double(), 1 + torch.rand(2, 32, 40).double()
    sample = Sample(image1, image2, flow, known, depth, known)
    return losses(model(image1, image2, iterations=2), sample, LossConfig()).total
