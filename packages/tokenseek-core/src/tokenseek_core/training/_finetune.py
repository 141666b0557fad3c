"""From a model and records to a folder that reopens: checked, trained, saved, resumable."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from tokenseek_common import InputError
from tokenseek_common.cli import (
    Console,
    check_folder,
    first_device,
    fresh_folder,
    resolve_dtype,
)
from tokenseek_common.data import Record, check_vocabulary, encode_records, load_records
from tokenseek_common.training import (
    Processes,
    Standing,
    claimed,
    saving,
    set_aside,
    standing_of,
    train_to_end,
)
from tokenseek_core._apply import TokenSeekHandle, apply_tokenseek
from tokenseek_core._callback import TokenSeekCallback
from tokenseek_core._instances import instance_of, share_kept, told, trains_densely
from tokenseek_core._selection import kept_tokens
from tokenseek_core.models._adapters import check_peft, with_adapters
from tokenseek_core.models._embedded import SMOLLM2, SMOLLM2_HUB_ID, check_source
from tokenseek_core.models._four_bit import check_bitsandbytes, quantize
from tokenseek_core.models._positions import check_positions
from tokenseek_core.models._pretrained import load_pretrained
from tokenseek_core.training._alike import AlikeTogether
from tokenseek_core.training._chat_template import give_chat_template
from tokenseek_core.training._fitting import fitted_ratio
from tokenseek_core.training._packed import check_apart, instances_in, packed
from tokenseek_core.training._publishing import check_repository, publish
from tokenseek_core.training._quiet import libraries_quiet
from tokenseek_core.training._reporters import check_reporter
from tokenseek_core.training._result import FinetuneResult
from tokenseek_core.training._resuming import check_resumable
from tokenseek_core.training._run_record import (
    check_examples,
    check_options,
    chosen_ratio,
    write_record,
)
from tokenseek_core.training._settings import FinetuneSettings
from tokenseek_core.training._task import Task
from tokenseek_core.training._trainer import Clock, CountingTrainer, training_arguments

USUAL_LENGTH = 1024
"""Tokens of a sequence at most, where nothing is asked for."""


def finetune(
    settings: FinetuneSettings,
    *,
    output: Path | None = None,
    resume: bool = False,
    console: Console | None = None,
) -> FinetuneResult:
    """Fine-tune a model on instructions, conversations or text.

    Nothing is written before everything is checked. The folder then holds what `from_pretrained`
    opens (the model or an adapter, and the tokenizer), checkpoints beside it, and
    finetune.json, which says how it came about. SIGTERM or Ctrl-C saves a checkpoint and ends the
    run after the step that it comes in. Started several times by torchrun or accelerate launch,
    each process has a whole model and its part of each batch, `batch_size` of it.

    Args:
        settings: What is trained on what, and how.
        output: A new or empty folder; None takes the next free tokenseek-finetune-001.
        resume: Go on with the interrupted run in `output`, to the same result; its settings must
            be the same.
        console: Where notes and progress are told; None tells nothing.

    Returns:
        The folder, with losses and costs.

    Raises:
        InputError: Settings, model, data or folder cannot be used.
        RunError: A loss or gradient was not finite, SIGTERM ended the run, or the hub could not be
            reached.
        KeyboardInterrupt: Ctrl-C ended it.

    Example:
        >>> settings = FinetuneSettings(model="smollm2", data="train.jsonl", lora=True)
        >>> finetune(settings, output=Path("tuned")).eval_loss_after  # doctest: +SKIP
    """
    console = Console(quiet=True) if console is None else console
    processes = Processes.joined(_check_device(settings))
    if not processes.is_first:
        console.mute()
    standing = processes.on_first(
        lambda: _check_output(settings, output, resume=resume, processes=processes.count)
    )
    check_source(settings.model)
    _check_adapter(settings)
    check_reporter(settings.report_to)
    if settings.push_to_hub is not None:
        check_repository(settings.push_to_hub)
    record: dict[str, Any] = {"options": settings.decisive, "processes": processes.count}
    if standing is not None and settings.ratio == "auto":
        settings = replace(settings, ratio=chosen_ratio(standing.folder), device_memory=None)
    records = load_records(settings.data)
    held_out = load_records(settings.eval_data) if settings.eval_data else []
    with libraries_quiet(console), ExitStack() as held:
        settings, task = _prepare(settings, records, held_out, processes.device, console)
        fingerprints = task.fingerprints
        if standing is not None:
            check_examples(standing.folder, fingerprints)
        handle = _apply(settings, task, console)
        record |= {"examples": fingerprints, "ratio": settings.ratio}

        def begin() -> Path:
            opened = _open_folder(output, standing, console, held)
            write_record(opened, record)
            return opened

        def end() -> None:
            _save(settings, task, result)
            write_record(folder, {**record, "result": result.summary()})
            held.close()  # nothing of this run is left there
            if settings.push_to_hub is not None:
                console.note(f"sending {folder} to {settings.push_to_hub}")
                publish(settings, settings.push_to_hub, result)

        folder = processes.on_first(begin)
        result = _train(settings, task, handle, folder, standing, processes, console)
        processes.on_first(end)
    processes.leave()
    return result


def _check_output(
    settings: FinetuneSettings, output: Path | None, *, resume: bool, processes: int
) -> Standing | None:
    """Refuse a folder that cannot be written, or resumed from."""
    if not resume:
        check_folder(output)
        return None
    standing = check_resumable(output, processes)
    check_options(standing.folder, settings.decisive)
    return standing


def _check_device(settings: FinetuneSettings) -> torch.device:
    """Refuse a device that the Trainer would not train on."""
    device = first_device(settings.device)
    if settings.bf16 and device.type == "cuda" and not torch.cuda.is_bf16_supported():
        raise InputError("bf16 (True) must be something that the device has; leave it out")
    return device


def _check_adapter(settings: FinetuneSettings) -> None:
    """Refuse an adapter whose libraries are not installed."""
    if settings.adapters is not None:
        asked = f"adapter ({settings.trained})"
        check_peft(asked)
        if settings.trained == "qlora":
            check_bitsandbytes(asked)


def _prepare(
    settings: FinetuneSettings,
    records: list[Record],
    held_out: list[Record],
    device: torch.device,
    console: Console,
) -> tuple[FinetuneSettings, Task]:
    """Load the model and encode the records; choose a ratio that was left to us."""
    torch.manual_seed(settings.seed)  # an adapter begins at random
    console.note(f"loading {settings.model}")
    whole = settings.dtype == "auto" and settings.trained != "qlora"
    dtype = torch.float32 if whole else resolve_dtype(settings.dtype, device)
    model, tokenizer = load_pretrained(settings.model, device=torch.device("cpu"), dtype=dtype)
    if settings.chat_template is not None:
        give_chat_template(tokenizer, settings.chat_template)
    max_length = _max_length(settings, model)
    encoded = [
        encode_records(chosen, tokenizer, max_length=max_length, template=settings.template)
        if chosen
        else []
        for chosen in (records, held_out)
    ]
    embedding: Any = model.get_input_embeddings()
    for examples in encoded:
        check_vocabulary(examples, tokenizer, rows=len(embedding.weight))
    train, evaluated = encoded
    rows = packed(train, max_length) if settings.packing else train
    if settings.ratio == "auto":
        instances = [instance_of(row) for row in rows]
        ratio = fitted_ratio(settings, model.config, dtype, instances, console)
        settings = replace(settings, ratio=ratio, device_memory=None)
    if settings.trained == "qlora":
        quantize(model)
    # transformers wraps `to` in a way that hides its signature.
    nn.Module.to(model, device)
    if settings.packing:
        check_apart(model, train)
    return settings, Task(_adapted(settings, model, console), tokenizer, rows, evaluated)


def _adapted(settings: FinetuneSettings, model: PreTrainedModel, console: Console) -> Any:
    """Put the adapter that is asked for beside the weights."""
    if settings.adapters is None:
        return model
    if settings.model == SMOLLM2:
        console.note(
            f"the adapter names {SMOLLM2_HUB_ID} as its base: the embedded model is that one, "
            "rounded to 4 bits"
        )
    return with_adapters(model, settings.model, settings.adapters)


def _max_length(settings: FinetuneSettings, model: PreTrainedModel) -> int:
    """Tokens of a sequence; only what the user asked for can be too many."""
    longest: int | None = getattr(model.config, "max_position_embeddings", None)
    asked = settings.max_length
    if asked is None:
        return min(USUAL_LENGTH, longest or USUAL_LENGTH)
    check_positions(asked, longest, field="max_length", source=settings.model)
    return asked


def _apply(settings: FinetuneSettings, task: Task, console: Console) -> TokenSeekHandle | None:
    """Apply TokenSeek, and try it: a model that it cannot train is refused here."""
    instances = [instance for row in task.train for instance in instances_in(row)]
    config = settings.config_for(instances)
    share = share_kept(instances, config)
    if trains_densely(share, config):
        console.note(
            f"training densely: with {share:.0%} of the tokens kept, two passes save nothing"
        )
        return None
    console.note(told(config, share))
    handle = apply_tokenseek(task.model, config)
    task.model.train()
    # One that is not itself taken densely.
    first = min(task.train, key=lambda row: share_kept(instances_in(row), config))
    batch = task.collator([first])
    task.model(**{name: value.to(task.model.device) for name, value in batch.items()})
    return handle


def _open_folder(
    output: Path | None, standing: Standing | None, console: Console, held: ExitStack
) -> Path:
    """Make the output folder, or make room in that of the interrupted run, and hold it."""
    if standing is None:
        folder = fresh_folder(output, default="tokenseek-finetune")
        held.enter_context(claimed(folder))
        return folder
    held.enter_context(claimed(standing.folder))
    for checkpoint, damage in standing.cut_off.items():
        console.note(f"skipping {checkpoint}, {damage}")
    set_aside(standing)
    console.note(f"resuming from {standing.checkpoint}")
    return standing.folder


def _train(
    settings: FinetuneSettings,
    task: Task,
    handle: TokenSeekHandle | None,
    folder: Path,
    standing: Standing | None,
    processes: Processes,
    console: Console,
) -> FinetuneResult:
    """Train.

    Raises:
        RunError: A step was not finite, or SIGTERM ended the run.
        KeyboardInterrupt: Ctrl-C ended it.
    """
    started = time.perf_counter()
    use_cache = getattr(task.model.config, "use_cache", True)
    resumed, device = standing is not None, processes.device
    trainer = _trainer(settings, task, handle, folder, device, resumed=resumed)
    trainer.add_callback(Clock(trainer.tally))
    if handle is not None:
        trainer.add_callback(TokenSeekCallback(handle, trainer, settings.record_every))
    state = train_to_end(
        trainer,
        console,
        output=folder,
        checkpoint=standing.checkpoint if standing else None,
        movement_check=settings.movement_check,
    )
    if handle is not None:
        handle.remove()
    task.model.config.use_cache = use_cache  # the Trainer switches it off for good
    tally = trainer.tally.of_all(processes)
    return FinetuneResult(
        model=settings.model,
        output=folder,
        steps=state.global_step,
        **_losses(state.log_history),
        tokens=tally.tokens,
        tokens_per_second=tally.tokens_per_second,
        seconds=time.perf_counter() - started,
        kept_share=tally.kept_share,
        supervised_share=tally.supervised_share,
    )


def _save(settings: FinetuneSettings, task: Task, result: FinetuneResult) -> None:
    """Save what was trained, and its tokenizer."""
    model = task.model.merge_and_unload() if settings.merge else task.model
    with saving(result.output, f"take the model from {standing_of(result.output).checkpoint}"):
        model.save_pretrained(result.output)
        task.tokenizer.save_pretrained(result.output)


def _trainer(
    settings: FinetuneSettings,
    task: Task,
    handle: TokenSeekHandle | None,
    folder: Path,
    device: torch.device,
    *,
    resumed: bool,
) -> CountingTrainer:
    """Set the Trainer up."""
    arguments = training_arguments(
        folder,
        device=device,
        gradient_checkpointing=settings.gradient_checkpointing,
        evaluate=bool(task.held_out),
        resumed=resumed,
        save_steps=settings.save_steps,
        seed=settings.seed,
        data_seed=settings.seed,
        learning_rate=settings.peak_rate,
        weight_decay=settings.weight_decay,
        num_train_epochs=settings.epochs,
        max_steps=settings.steps or -1,
        per_device_train_batch_size=settings.batch_size,
        per_device_eval_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.accumulate,
        bf16=settings.bf16,
        report_to=settings.report_to,
    )
    order = None
    if handle is not None and handle.config.answer_ratio is not None:
        kept = [
            sum(kept_tokens(*instance, handle.config) for instance in instances_in(row))
            for row in task.train
        ]
        order = AlikeTogether(kept, batch_size=settings.batch_size, seed=settings.seed)
    return CountingTrainer(
        handle=handle,
        order=order,
        model=task.model,
        args=arguments,
        data_collator=task.collator,
        train_dataset=task.train,
        eval_dataset=task.held_out or None,
        processing_class=task.tokenizer,
    )


def _losses(history: list[dict[str, float]]) -> dict[str, float | None]:
    """First and last losses of a run, from the Trainer's log; None where there were none."""
    train = [logged["loss"] for logged in history if "loss" in logged]
    held_out = [logged["eval_loss"] for logged in history if "eval_loss" in logged]
    return {
        "train_loss_first": train[0] if train else None,
        "train_loss_last": train[-1] if train else None,
        "eval_loss_before": held_out[0] if held_out else None,
        "eval_loss_after": held_out[-1] if held_out else None,
    }
