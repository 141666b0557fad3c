"""`tokenseek finetune`: fine-tune a model on a data set through the tokens that matter."""

from __future__ import annotations

import math
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import PrinterCallback

from tokenseek_common import InputError, RunError
from tokenseek_common.cli import (
    CommonOptions,
    Console,
    DtypeName,
    check_folder,
    fresh_folder,
    resolve_device,
    resolve_dtype,
)
from tokenseek_common.data import Record, encode_records, load_records
from tokenseek_common.training import Standing, set_aside, sigterm_restored
from tokenseek_core._apply import TokenSeekHandle, apply_tokenseek
from tokenseek_core._callback import TokenSeekCallback
from tokenseek_core._config import (
    DEFAULT_GRADIENT,
    DEFAULT_SELECTOR,
    GradientName,
    SelectorName,
    TokenSeekConfig,
)
from tokenseek_core.models._lora import SMOLLM2_HUB_ID, check_peft, with_lora
from tokenseek_core.models._pretrained import SMOLLM2, check_source, load_pretrained
from tokenseek_core.training._quiet import libraries_quiet
from tokenseek_core.training._resuming import check_resumable
from tokenseek_core.training._run_record import (
    check_examples,
    check_options,
    write_record,
)
from tokenseek_core.training._task import Task
from tokenseek_core.training._trainer import FiniteTrainer, Watch, training_arguments

FREE = ("data", "eval_data", "output", "device", "quiet", "json", "debug", "resume")
"""Options that may differ when a run is resumed; of the data, the records are compared."""


@dataclass(frozen=True, kw_only=True)
class Finetune(CommonOptions):
    """Fine-tune a model on instructions, conversations or text.

    Writes a folder that from_pretrained opens: the model or, with --lora, an adapter; and its
    tokenizer. Checkpoints stand beside it, and finetune.json says how it came about. A run that was
    interrupted goes on with --resume and the same options, to the same result.
    """

    model: str
    """A folder, a hub id, or smollm2 for the embedded model."""

    data: str
    """A .jsonl or .json file, or a data set on the hub."""

    eval_data: str | None = None
    """Held-out records, as --data; their loss is taken before, at every checkpoint and after."""

    ratio: float = 0.1
    """Share of the tokens that carry gradient, in (0, 1]; 1 trains densely."""

    selector: SelectorName = DEFAULT_SELECTOR
    """How tokens are chosen."""

    gradient: GradientName = DEFAULT_GRADIENT
    """What they back-propagate: restart starts the loss anew from them, inject hands them the
    exact adjoint from the last block, which stays exact itself."""

    alpha: float = 1.0
    """Weight of the context score, the attention that a token receives."""

    beta: float = 1.0
    """Weight of the gradient score."""

    lora: bool = False
    """Train a low-rank adapter on every linear layer instead of the weights."""

    gradient_checkpointing: bool = False
    """Recompute activations instead of keeping them."""

    bf16: bool = False
    """Compute in bfloat16, by autocast; the weights keep their --dtype."""

    dtype: DtypeName = "auto"
    """Precision of the weights; auto is float32."""

    lr: float | None = None
    """Highest learning rate; by default 2e-5, with --lora 2e-4."""

    epochs: float = 1.0
    """Passes over the data."""

    max_steps: int | None = None
    """Optimizer steps, in place of --epochs."""

    batch_size: int = 4
    """Sequences that go through the model at a time."""

    accumulate: int = 1
    """Batches of an optimizer step."""

    max_length: int = 1024
    """Tokens of a sequence; longer ones are cut."""

    save_steps: int = 500
    """Steps from one checkpoint to the next; the last two are kept."""

    resume: bool = False
    """Go on with the interrupted run in --output."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("max_steps", "batch_size", "accumulate", "max_length", "save_steps"):
            value = getattr(self, name)
            least = 2 if name == "max_length" else 1
            if value is not None and value < least:
                raise InputError(
                    f"{name} ({value}) must be at least {least}; "
                    f"choose another --{name.replace('_', '-')}"
                )
        for name, rate in (("lr", self.learning_rate), ("epochs", self.epochs)):
            if not 0 < rate < math.inf:
                raise InputError(f"{name} ({rate}) must be above 0; choose another --{name}")
        if self.dtype == "float16":
            raise InputError(
                "dtype (float16) must be one whose gradients do not vanish; "
                "choose --dtype float32, with --bf16 where there is bfloat16"
            )
        _ = self.config

    @property
    def config(self) -> TokenSeekConfig:
        """TokenSeek's own settings."""
        return TokenSeekConfig(
            ratio=self.ratio,
            selector=self.selector,
            gradient=self.gradient,
            alpha=self.alpha,
            beta=self.beta,
        )

    @property
    def dense(self) -> bool:
        """Whether the steps are dense, since two passes would cost more than they save."""
        limit = self.config.dense_above
        return limit is not None and self.ratio >= limit

    @property
    def learning_rate(self) -> float:
        """The given learning rate, or what suits what is trained."""
        if self.lr is not None:
            return self.lr
        return 2e-4 if self.lora else 2e-5

    @property
    def decisive(self) -> dict[str, object]:
        """The options that make a run what it is."""
        options = {name: value for name, value in vars(self).items() if name not in FREE}
        return options | {"lr": self.learning_rate}

    def run(self, console: Console) -> None:
        """Check, train, save, tell; nothing is written before everything is checked."""
        standing = self._check_output()
        device = self._check_device()
        check_source(self.model)
        if self.lora:
            check_peft()
        records = load_records(self.data)
        held_out = load_records(self.eval_data) if self.eval_data else []
        with libraries_quiet(console):
            task = self._prepare(records, held_out, device, console)
            fingerprints = task.fingerprints
            if standing is not None:
                check_examples(standing.folder, fingerprints)
            handle = self._apply(task, console)
            folder = self._open_folder(standing, console)
            record = {"options": self.decisive, "examples": fingerprints}
            write_record(folder, record)
            result = self._train(task, handle, folder, standing, console)
            write_record(folder, {**record, "result": result})
        self._tell(result, console)

    def _check_output(self) -> Standing | None:
        """Refuse a folder that cannot be written, or resumed from."""
        if not self.resume:
            check_folder(self.output)
            return None
        standing = check_resumable(self.output)
        check_options(standing.folder, self.decisive)
        return standing

    def _check_device(self) -> torch.device:
        """Refuse a device that the Trainer would not train on."""
        device = resolve_device(self.device)
        if device.index:
            raise InputError(
                f"device ({device}) must be the first of its kind; choose --device {device.type} "
                f"and set CUDA_VISIBLE_DEVICES={device.index}"
            )
        if self.bf16 and device.type == "cuda" and not torch.cuda.is_bf16_supported():
            raise InputError("bf16 (True) must be something that the device has; leave it out")
        return device

    def _prepare(
        self,
        records: list[Record],
        held_out: list[Record],
        device: torch.device,
        console: Console,
    ) -> Task:
        """Load the model and encode the records."""
        torch.manual_seed(self.seed)  # an adapter begins at random
        console.note(f"loading {self.model}")
        dtype = torch.float32 if self.dtype == "auto" else resolve_dtype(self.dtype, device)
        model, tokenizer = load_pretrained(self.model, device=device, dtype=dtype)
        longest = getattr(model.config, "max_position_embeddings", self.max_length)
        if self.max_length > longest:
            raise InputError(
                f"max_length ({self.max_length}) must be at most {longest}, the positions of "
                f"{self.model}; choose another --max-length"
            )
        train, evaluation = (
            encode_records(chosen, tokenizer, max_length=self.max_length) if chosen else []
            for chosen in (records, held_out)
        )
        trained = with_lora(model, self.model) if self.lora else model
        if self.lora and self.model == SMOLLM2:
            console.note(
                f"the adapter names {SMOLLM2_HUB_ID} as its base: the embedded model is that one, "
                "rounded to 4 bits"
            )
        return Task(trained, tokenizer, train, evaluation)

    def _apply(self, task: Task, console: Console) -> TokenSeekHandle | None:
        """Apply TokenSeek, and try it: a model that it cannot train is refused here."""
        if self.dense:
            console.note(f"training densely: at ratio {self.ratio:g} two passes save nothing")
            return None
        handle = apply_tokenseek(task.model, self.config)
        task.model.train()
        batch = task.collator(task.train[:1])
        task.model(**{name: value.to(task.model.device) for name, value in batch.items()})
        return handle

    def _open_folder(self, standing: Standing | None, console: Console) -> Path:
        """Make the output folder, or make room in that of the interrupted run."""
        if standing is None:
            return fresh_folder(self.output, default="tokenseek-finetune")
        for checkpoint, damage in standing.cut_off.items():
            console.note(f"skipping {checkpoint}, {damage}")
        set_aside(standing)
        console.note(f"resuming from {standing.checkpoint}")
        return standing.folder

    def _train(
        self,
        task: Task,
        handle: TokenSeekHandle | None,
        folder: Path,
        standing: Standing | None,
        console: Console,
    ) -> dict[str, object]:
        """Train and save.

        Returns:
            What came of it.

        Raises:
            RunError: A step was not finite, or the run was asked to stop.
        """
        started = time.perf_counter()
        use_cache = getattr(task.model.config, "use_cache", True)
        with ExitStack() as stack:
            stack.enter_context(sigterm_restored())
            trainer = self._trainer(task, handle, folder, resumed=standing is not None)
            trainer.add_callback(Watch(trainer, console, stack))
            if handle is not None:
                trainer.add_callback(TokenSeekCallback(handle, trainer))
            trainer.train(resume_from_checkpoint=str(standing.checkpoint) if standing else None)
        state = trainer.state
        if state.global_step < state.max_steps:
            raise RunError(
                f"training was stopped by SIGTERM before step {state.max_steps}, its last, and has "
                f"saved itself; go on with the same options, --output {folder} and --resume"
            )
        if handle is not None:
            handle.remove()
        task.model.config.use_cache = use_cache  # the Trainer switches it off for good
        task.model.save_pretrained(folder)
        task.tokenizer.save_pretrained(folder)
        tally = trainer.tally
        return {
            "model": self.model,
            "output": str(folder),
            "steps": state.global_step,
            **losses(state.log_history),
            "tokens": tally.tokens,
            "tokens_per_second": tally.tokens_per_second,
            "seconds": time.perf_counter() - started,
            "kept_share": tally.kept_share,
            "supervised_share": tally.supervised_share,
        }

    def _trainer(
        self, task: Task, handle: TokenSeekHandle | None, folder: Path, *, resumed: bool
    ) -> FiniteTrainer:
        """Set the Trainer up."""
        arguments = training_arguments(
            folder,
            device=resolve_device(self.device),
            gradient_checkpointing=self.gradient_checkpointing,
            evaluate=bool(task.held_out),
            resumed=resumed,
            save_steps=self.save_steps,
            seed=self.seed,
            data_seed=self.seed,
            learning_rate=self.learning_rate,
            num_train_epochs=self.epochs,
            max_steps=self.max_steps or -1,
            per_device_train_batch_size=self.batch_size,
            per_device_eval_batch_size=self.batch_size,
            gradient_accumulation_steps=self.accumulate,
            bf16=self.bf16,
        )
        trainer = FiniteTrainer(
            handle=handle,
            model=task.model,
            args=arguments,
            data_collator=task.collator,
            train_dataset=task.train,
            eval_dataset=task.held_out or None,
            processing_class=task.tokenizer,
        )
        trainer.remove_callback(PrinterCallback)  # it prints to stdout
        return trainer

    def _tell(self, result: dict[str, object], console: Console) -> None:
        """Print the table and the result."""
        named = {name.replace("_", " "): value for name, value in result.items()}
        console.table(
            "Fine-tuned",
            ["figure", "value"],
            [[name, value] for name, value in named.items() if value is not None],
        )
        console.result(result)


def losses(history: list[dict[str, float]]) -> dict[str, float | None]:
    """First and last losses of a run, from the Trainer's log; None where there were none."""
    train = [logged["loss"] for logged in history if "loss" in logged]
    held_out = [logged["eval_loss"] for logged in history if "eval_loss" in logged]
    return {
        "train_loss_first": train[0] if train else None,
        "train_loss_last": train[-1] if train else None,
        "eval_loss_before": held_out[0] if held_out else None,
        "eval_loss_after": held_out[-1] if held_out else None,
    }
