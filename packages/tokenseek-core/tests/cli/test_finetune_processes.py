from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from saved_llama import save_llama, save_records
from tokenseek_core.cli import main

pytestmark = [pytest.mark.distributed, pytest.mark.slow]


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What every run is of."""
    folder = tmp_path_factory.mktemp("given")
    model, records = save_llama(folder / "model"), save_records(folder / "train.jsonl")
    return [
        *("finetune", "--model", str(model), "--data", str(records), "--eval-data", str(records)),
        *("--device", "cpu", "--max-length", "32", "--ratio", "0.4", "--selector", "tokenseek"),
        *("--gradient", "restart", "--learning-rate", "1e-2", "--save-steps", "2", "--json"),
    ]


def started(*arguments: str) -> list[subprocess.Popen[str]]:
    """Start a command twice, as a launcher would."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(sys.path),
        "OMP_NUM_THREADS": "1",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": "2",
    }
    return [
        subprocess.Popen(
            [sys.executable, "-m", "tokenseek_core", *arguments],
            env=environment | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]


def ended(processes: list[subprocess.Popen[str]]) -> list[tuple[int, str, str]]:
    """Exit code, stdout and stderr of each."""
    told = [process.communicate(timeout=600) for process in processes]
    codes = [process.returncode for process in processes]
    return [(code, *texts) for code, texts in zip(codes, told, strict=True)]


@pytest.fixture(scope="module")
def together(given: list[str], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A run of both, and what it told."""
    folder = tmp_path_factory.mktemp("together") / "run"
    done = ended(started(*given, "--output", str(folder), "--batch-size", "2", "--steps", "6"))
    assert [code for code, _, _ in done] == [0, 0], done
    assert done[1][1] == "", "one of them tells"
    return folder, json.loads(done[0][1])


def test_two_processes_train_as_one_does_on_both_their_batches(
    given: list[str],
    together: tuple[Path, Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder, result = together
    options = ("--output", str(tmp_path / "run"), "--batch-size", "4", "--steps", "6")
    assert main([*given, *options]) == 0
    alone = json.loads(capsys.readouterr().out)
    for figure in ("train_loss_first", "train_loss_last", "eval_loss_before", "eval_loss_after"):
        assert result[figure] == pytest.approx(alone[figure], rel=1e-4), figure
    assert result["tokens"] == alone["tokens"]
    assert result["kept_share"] == pytest.approx(alone["kept_share"])
    found, expected = (load_file(run / "model.safetensors") for run in (folder, tmp_path / "run"))
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


def test_a_signal_to_one_ends_both_and_they_resume_to_the_same_weights(
    given: list[str],
    together: tuple[Path, Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole, _ = together
    options = [*given, "--output", str(tmp_path / "run"), "--batch-size", "2", "--steps", "6"]
    both = started(*options)
    while not (tmp_path / "run" / "checkpoint-2").exists() and both[0].poll() is None:
        time.sleep(0.01)
    both[1].send_signal(signal.SIGTERM)
    done = ended(both)
    assert [code for code, _, _ in done] == [1, 1], done
    assert "and has saved itself; go on with the same options" in done[0][2]
    assert main([*options, "--resume"]) == 2
    assert "processes (1) must be 2, as in the run that is resumed" in capsys.readouterr().err
    done = ended(started(*options, "--resume"))
    assert [code for code, _, _ in done] == [0, 0], done
    found, expected = (load_file(run / "model.safetensors") for run in (tmp_path / "run", whole))
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
