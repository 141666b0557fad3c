"""`tokenseek demo`: a short real fine-tuning, dense, checkpointed and through the kept tokens."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tokenseek_common import InputError
from tokenseek_common.cli import (
    CommonOptions,
    Console,
    DtypeName,
    check_folder,
    fresh_folder,
    resolve_device,
    resolve_dtype,
)
from tokenseek_core._apply import apply_tokenseek
from tokenseek_core._config import (
    DEFAULT_GRADIENT,
    DEFAULT_SELECTOR,
    GradientName,
    SelectorName,
    TokenSeekConfig,
)
from tokenseek_core.demo._material import MOST_TOKENS, Material, prepare
from tokenseek_core.demo._page import demo_page
from tokenseek_core.demo._passage import seek
from tokenseek_core.demo._result import DemoResult, Lessons, Setup
from tokenseek_core.demo._training import REPEATS, Training, Weights, fine_tune, held_out_loss
from tokenseek_core.inspect import StepCost, compare_steps, methods
from tokenseek_core.inspect._costs import cost_table
from tokenseek_core.models._pretrained import SMOLLM2, check_source, load_pretrained


@dataclass(frozen=True, kw_only=True)
class Demo(CommonOptions):
    """Fine-tune a small model for a few minutes, each way, and write a report.

    Dense, checkpointed and TokenSeek training start from the same weights and take the same steps
    on docstrings of Python's standard library, without any network. With the embedded model it
    takes about four minutes on two cores and 5 GB of memory. report.html and report.json go to
    the folder that --output names, or to a new tokenseek-demo-001.
    """

    model: str = SMOLLM2
    """A folder, a hub id, or smollm2 for the embedded model."""

    ratio: float = 0.1
    """Share of the tokens that carry gradient, above 0 and below 0.6."""

    selector: SelectorName = DEFAULT_SELECTOR
    """How tokens are chosen."""

    gradient: GradientName = DEFAULT_GRADIENT
    """What they back-propagate: restart starts the loss anew from them, inject hands them the
    exact adjoint from the last block, which stays exact itself."""

    steps: int = 16
    """Optimizer steps of each fine-tuning."""

    dtype: DtypeName = "float32"
    """Precision of the weights that are trained; bfloat16 rounds most of so small steps away."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps < 1:
            raise InputError(f"steps ({self.steps}) must be at least 1; choose another --steps")
        config = self._config()
        if config.dense_above is not None and config.ratio >= config.dense_above:
            raise InputError(
                f"ratio ({self.ratio}) must be below {config.dense_above:g}, from where on "
                "TokenSeek itself trains densely; choose a smaller --ratio"
            )

    def run(self, console: Console) -> None:
        """Load, measure, train, show."""
        begin = time.perf_counter()
        check_folder(self.output)
        check_source(self.model)
        device = resolve_device(self.device)
        torch.manual_seed(self.seed)
        console.note(f"loading {self.model}")
        model, tokenizer = load_pretrained(
            self.model, device=device, dtype=resolve_dtype(self.dtype, device)
        )
        apply_tokenseek(model, self._config()).remove()  # refuses a model before minutes of work
        positions = getattr(model.config, "max_position_embeddings", MOST_TOKENS)
        material = prepare(tokenizer, positions=positions, seed=self.seed)

        result = self._result(model, tokenizer, material, console, begin)
        self._tell(result, console)
        folder = self._write(result)
        console.print(f"report: {folder / 'report.html'}")
        console.result(result.summary() | {"folder": folder})

    def _config(self) -> TokenSeekConfig:
        return TokenSeekConfig(ratio=self.ratio, selector=self.selector, gradient=self.gradient)

    def _result(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        material: Material,
        console: Console,
        begin: float,
    ) -> DemoResult:
        costs = self._measure(model, material, console)
        trainings = self._train(model, material, console)
        passage = seek(model, tokenizer, material.held_out[-1], material.collator, self._config())
        batches = material.training_batches(self.steps, seed=self.seed)
        return DemoResult(
            setup=Setup.of(self.model, model, self.seed),
            lessons=Lessons.of(material, batches),
            config=self._config(),
            costs=costs,
            trainings=trainings,
            passage=passage,
            seconds=time.perf_counter() - begin,
        )

    def _measure(
        self, model: PreTrainedModel, material: Material, console: Console
    ) -> tuple[StepCost, ...]:
        """One step of each method on a text of realistic length."""
        length = material.measured.length
        console.note(f"measuring dense, checkpointed and TokenSeek steps on {length} tokens")
        batch = material.collator([material.measured.example])
        on_device = {name: tensor.to(model.device) for name, tensor in batch.items()}
        compared = methods(self._config())
        return tuple(compare_steps(model.train(), on_device, compared, repeats=REPEATS))

    def _train(
        self, model: PreTrainedModel, material: Material, console: Console
    ) -> tuple[Training, ...]:
        """The same fine-tuning in three ways; the model is left as TokenSeek trained it."""
        start = Weights(model)
        batches = material.training_batches(self.steps, seed=self.seed)
        held_out = material.held_out_batches()
        before = held_out_loss(model, held_out)
        trainings = []
        for method in methods(self._config())[:3]:
            start.restore()
            with console.progress(f"fine-tuning, {method.name}", total=self.steps) as progress:
                trainings.append(
                    fine_tune(
                        model,
                        method,
                        batches,
                        held_out,
                        before=before,
                        seed=self.seed,
                        progress=progress,
                    )
                )
        return tuple(trainings)

    def _tell(self, result: DemoResult, console: Console) -> None:
        lessons = result.lessons
        console.table(
            f"One step of {result.setup.name} on {lessons.measured_tokens} tokens, "
            f"ratio {self.ratio:g}, on {result.setup.device}",
            *cost_table(result.costs),
        )
        console.table(
            f"Fine-tuning, {result.steps} steps each; loss on {lessons.held_out_texts} held-out "
            "texts",
            ["method", "loss before", "loss after", "training s", "processor s"],
            [
                [
                    training.method,
                    training.before.loss,
                    training.after.loss,
                    training.after.seconds,
                    training.after.cpu_seconds,
                ]
                for training in result.trainings
            ],
        )

    def _write(self, result: DemoResult) -> Path:
        """Both files, which are ready before the folder is made."""
        numbers = json.dumps(result.summary(), indent=2, allow_nan=False) + "\n"
        shown = demo_page(result)
        folder = fresh_folder(self.output, default="tokenseek-demo")
        (folder / "report.json").write_text(numbers, encoding="utf-8")
        (folder / "report.html").write_text(shown, encoding="utf-8")
        return folder
