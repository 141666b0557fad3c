"""All three libraries train in one process, one after the other, and leave it as it was."""

from __future__ import annotations

import copy
import gc
import logging
import os
import pickle
import random
import signal
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.modules.module
from torch import nn
from torch.overrides import _get_current_function_mode_stack
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.utils import logging as transformers_logging

import datasets  # noqa: F401  # its first import sets a logger up
import mept.cli
import promotion.cli
import tokenseek_core.cli
from saved import mood_rows, save_rows, save_tiny
from three_steps import STEPS
from tokenseek_common.memory import ledger

torch.set_num_threads(1)

FUNCTIONS: dict[str, Any] = {
    "attention": ALL_ATTENTION_FUNCTIONS,
    "mask": ALL_MASK_ATTENTION_FUNCTIONS,
}


def state_of_process() -> dict[str, Any]:
    """What a library may change for all others in a process, but for torch's generator."""
    hooks = {
        name: copy.copy(value)
        for name, value in vars(torch.nn.modules.module).items()
        if name.startswith("_global_")
    }
    loggers = [
        logging.getLogger(),
        *map(logging.getLogger, sorted(logging.root.manager.loggerDict)),
    ]
    return {
        **{
            # TokenSeek's own stay, under names that nobody else asks for.
            kind: {n: f for n, f in functions.items() if not n.startswith("tokenseek_")}
            for kind, functions in FUNCTIONS.items()
        },
        "global hooks": hooks,
        # Transformers puts that name there whenever it makes a model.
        "nn.Module": {n: v for n, v in vars(nn.Module).items() if n != "smart_apply"},
        "threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "dtype": torch.get_default_dtype(),
        "default device": torch.get_default_device(),
        "grad mode": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "autocast": torch.is_autocast_enabled("cpu"),
        "anomaly": torch.is_anomaly_enabled(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "matmul": torch.get_float32_matmul_precision(),
        "cudnn": (torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic),
        "modes": (_get_current_function_mode_stack(), _get_current_dispatch_mode_stack()),
        "warnings": (list(warnings.filters), warnings.showwarning),
        "loggers": {each.name: (each.level, list(each.handlers)) for each in loggers if each.level},
        "transformers": (
            transformers_logging.get_verbosity(),
            transformers_logging.is_progress_bar_enabled(),
        ),
        "signals": {each: signal.getsignal(each) for each in signal.valid_signals()},
        "streams": (sys.stdout, sys.stderr, sys.excepthook),
        "environment": dict(os.environ),
        "garbage": gc.isenabled(),
        "folder": Path.cwd(),
    }


def state_of_model(model: nn.Module) -> dict[str, Any]:
    """What hangs on modules beside their parameters and buffers."""
    found = {}
    for name, module in model.named_modules():
        own = {n: v for n, v in vars(module).items() if n not in ("_parameters", "_buffers")}
        found[name] = {n: copy.copy(v) if "hooks" in n else v for n, v in own.items()}
    return found


@pytest.mark.parametrize("name", STEPS)
def test_steps_of_a_library_change_nothing_for_others(name: str) -> None:
    process = state_of_process()
    generators = random.getstate(), pickle.dumps(np.random.get_state())
    with STEPS[name]() as (model, loss):
        on_model = state_of_model(model)
        for seed in range(2):
            loss(model, seed).backward()
        assert state_of_model(model) == on_model
    assert state_of_process() == process
    assert (random.getstate(), pickle.dumps(np.random.get_state())) == generators


def test_after_all_of_them_each_gives_what_it_gives_alone() -> None:
    def gradients(name: str) -> dict[str, torch.Tensor]:
        with STEPS[name]() as (model, loss):
            loss(model, 3).backward()
            return {n: p.grad for n, p in model.named_parameters() if p.grad is not None}

    first = {name: gradients(name) for name in STEPS}
    for name in reversed(STEPS):
        again = gradients(name)
        assert again.keys() == first[name].keys() != set()
        assert all(torch.equal(again[n], gradient) for n, gradient in first[name].items())


@pytest.mark.parametrize("name", STEPS)
def test_one_profiler_reads_all_of_them(name: str) -> None:
    with STEPS[name]() as (model, loss):
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(trained)
        for seed in range(2):
            with ledger(model, optimizer) as reading:
                loss(model, seed).backward()
                optimizer.step()
                held = sum(p.grad.nbytes for p in trained if p.grad is not None)
                optimizer.zero_grad()
        report = reading.report
    kinds = report.kinds
    assert kinds["parameters"] == sum(p.nbytes for p in model.parameters())
    assert kinds["optimizer"] == sum(2 * p.nbytes + 4 for p in trained)  # two averages, a count
    assert kinds["gradients"] <= held  # at the peak, some have not landed
    assert report.working is not None
    assert 0 < report.working < report.peak == sum(kinds.values())


TRAINING = """
model: {size: nano}
workers: 0
save_every: 3
evaluate_every: 4
held_out: 1
stages:
  - {name: flow, steps: 1, batch_size: 2, sizes: [[32, 40]], tasks: [flow], iterations: 2}
"""


def test_their_command_lines_change_nothing_for_others(tmp_path: Path) -> None:
    """Each seeds generators as it likes."""
    model = str(save_tiny(tmp_path / "llama", "llama"))
    moods = save_rows(tmp_path / "mood.jsonl", mood_rows(20))
    texts = tmp_path / "texts.jsonl"
    texts.write_text('{"instruction": "the old day", "output": "sun song"}\n' * 8)
    training = tmp_path / "training.yaml"
    training.write_text(TRAINING)
    task = ["--task", f"mood={moods}", "--labels", "glad", "sad"]
    commands: list[tuple[Callable[..., int], list[str]]] = [
        (
            tokenseek_core.cli.main,
            ["finetune", "--model", model, "--data", str(texts), "--max-length", "32"],
        ),
        (
            mept.cli.main,
            [*["train", "--model", model, *task, "--num-virtual-tokens", "3"], "--no-generation"],
        ),
        (promotion.cli.main, ["train", "--config", str(training)]),
    ]
    commands[0][1].extend(["--steps", "1"])
    commands[1][1].extend(["--steps", "1"])
    before = state_of_process()
    for number, (main, arguments) in enumerate(commands):
        output = str(tmp_path / f"run-{number}")
        assert main([*arguments, "--output", output, "--device", "cpu", "--quiet"]) == 0
        assert state_of_process() == before, arguments[0]
