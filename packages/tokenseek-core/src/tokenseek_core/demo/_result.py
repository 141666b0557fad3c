"""Everything that a demo found, as `report.json` holds it."""

from __future__ import annotations

import platform
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any, Self

import torch
from transformers import PreTrainedModel

from tokenseek_common.data import IGNORE_INDEX
from tokenseek_core._config import TokenSeekConfig
from tokenseek_core.demo._answers import Answers
from tokenseek_core.demo._docstrings import HELD_OUT_MODULES, TRAIN_MODULES
from tokenseek_core.demo._material import BATCH_SIZE, Batch, Material
from tokenseek_core.demo._passage import Passage
from tokenseek_core.demo._training import CLIP, LEARNING_RATE, REPEATS, Training
from tokenseek_core.inspect import StepCost
from tokenseek_core.models._embedded import SMOLLM2


@dataclass(frozen=True)
class Setup:
    """What a demo ran with.

    Args:
        model: As the user named it.
        name: What a reader calls it.
        weights: What its weights are, in words.
        parameters: How many it has, all of them trained.
        dtype: The precision that they are trained in.
        device: Where it computed.
        threads: How many threads torch used.
        seed: Of everything random.
        versions: Of Python and the libraries.
    """

    model: str
    name: str
    weights: str
    parameters: int
    dtype: str
    device: str
    threads: int
    seed: int
    versions: dict[str, str]

    @classmethod
    def of(cls, source: str, model: PreTrainedModel, seed: int) -> Self:
        """Describe a loaded model and this machine."""
        embedded = source == SMOLLM2
        dtype = str(model.dtype).removeprefix("torch.")
        return cls(
            model=source,
            name="SmolLM2-135M-Instruct" if embedded else source,
            weights=f"4-bit weights (Q4_1) dequantised to {dtype}"
            if embedded
            else f"{dtype} weights",
            parameters=sum(parameter.numel() for parameter in model.parameters()),
            dtype=dtype,
            device=str(model.device),
            threads=torch.get_num_threads(),
            seed=seed,
            versions={
                "python": platform.python_version(),
                **{name: version(name) for name in ("torch", "transformers", "tokenseek-core")},
            },
        )


@dataclass(frozen=True)
class Lessons:
    """How much was trained, tested and measured.

    Args:
        train_modules: Modules whose docstrings were trained on.
        held_out_modules: Modules whose docstrings were tested on.
        trained_texts: Instances of all steps of a training.
        trained_tokens: Their tokens, without padding.
        trained_supervised: Those of them to be learnt.
        held_out_texts: Instances that the loss was tested on.
        held_out_supervised: Their tokens to be predicted.
        measured_text: The instruction on which single steps were measured.
        measured_tokens: Its tokens, with the answer.
        measured_supervised: Those of them to be learnt.
    """

    train_modules: tuple[str, ...]
    held_out_modules: tuple[str, ...]
    trained_texts: int
    trained_tokens: int
    trained_supervised: int
    held_out_texts: int
    held_out_supervised: int
    measured_text: str
    measured_tokens: int
    measured_supervised: int

    @classmethod
    def of(cls, material: Material, batches: list[Batch]) -> Self:
        """Count."""
        return cls(
            train_modules=TRAIN_MODULES,
            held_out_modules=HELD_OUT_MODULES,
            trained_texts=sum(len(batch["input_ids"]) for batch in batches),
            trained_tokens=sum(int(batch["attention_mask"].sum()) for batch in batches),
            trained_supervised=sum(
                int((batch["labels"][:, 1:] != IGNORE_INDEX).sum()) for batch in batches
            ),
            held_out_texts=len(material.held_out),
            held_out_supervised=sum(lesson.example.supervised for lesson in material.held_out),
            measured_text=material.measured.asked,
            measured_tokens=material.measured.length,
            measured_supervised=material.measured.example.supervised,
        )


@dataclass(frozen=True)
class DemoResult:
    """All that a report tells.

    Args:
        setup: What ran.
        lessons: On how much.
        config: TokenSeek's settings.
        costs: A single step of each method; the dense one first.
        trainings: The fine-tunings; the dense one first, TokenSeek's last.
        passage: One text as TokenSeek sees it.
        answers: What an adapter learnt of answers behind prompts; None where that was left out.
        seconds: How long all of it took.
    """

    setup: Setup
    lessons: Lessons
    config: TokenSeekConfig
    costs: tuple[StepCost, ...]
    trainings: tuple[Training, ...]
    passage: Passage
    answers: Answers | None
    seconds: float

    @property
    def steps(self) -> int:
        """Optimizer steps of each training."""
        return self.trainings[0].after.step

    def summary(self) -> dict[str, Any]:
        """Every number by name, for JSON."""
        return {
            "setup": asdict(self.setup),
            "lessons": asdict(self.lessons),
            "settings": {
                "ratio": self.config.ratio,
                "selector": self.config.selector,
                "gradient": self.config.gradient,
                "steps": self.steps,
                "batch_size": BATCH_SIZE,
                "learning_rate": LEARNING_RATE,
                "gradient_clipping": CLIP,
                "repeats": REPEATS,
            },
            "step_costs": [
                cost.summary() | {"peak_kinds": dict(cost.memory.kinds)} for cost in self.costs
            ],
            "training": [asdict(training) for training in self.trainings],
            "passage": asdict(self.passage)
            | {"length": len(self.passage.tokens), "kept": self.passage.kept},
            "answers": None if self.answers is None else self.answers.summary(),
            "seconds": self.seconds,
        }
