"""The files in configs/accelerate are accelerate's, and those for CPUs start what they say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from accelerate.commands.config.config_args import ClusterConfig, load_config_from_file
from accelerate.commands.launch import launch_command_parser

from site_pages import DOCS
from workspace import ROOT

FOLDER = ROOT / "configs" / "accelerate"
CONFIGS = sorted(FOLDER.glob("*.yaml"))
TRAINING = """
model: {size: nano}
workers: 0
held_out: 1
stages:
  - {name: flow, steps: 2, batch_size: 2, sizes: [[32, 40]], tasks: [flow], iterations: 1}
"""


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_accelerate_reads_a_config_and_knows_every_option(path: Path) -> None:
    config = load_config_from_file(str(path))
    assert isinstance(config, ClusterConfig)
    assert config.mixed_precision == "no"
    assert config.num_processes % config.num_machines == 0
    assert config.machine_rank == 0
    assert (config.num_machines > 1) == path.stem.startswith("machines-")
    options = vars(launch_command_parser().parse_args(["--config_file", str(path), "any.py"]))
    assert config.fsdp_config.keys() <= options.keys()
    version = config.fsdp_config.get("fsdp_version")
    assert version == (2 if path.stem.endswith("fsdp2") else None)


def test_the_page_names_every_config() -> None:
    text = (DOCS / "distributed.md").read_text(encoding="utf-8")
    assert [path.name for path in CONFIGS if f"`{path.name}`" not in text] == []


@pytest.mark.slow
@pytest.mark.distributed
@pytest.mark.parametrize("kind", ["ddp", "fsdp2"])
def test_two_processes_on_cpus_train_two_steps(kind: str, tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(TRAINING)
    launch = [sys.executable, "-m", "accelerate.commands.launch"]
    given = ["--config_file", str(FOLDER / f"cpu-{kind}.yaml"), "--main_process_port", "0"]
    command = ["-m", "promotion.cli", "train", "--config", "run.yaml", "-o", "run", "--json"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [*launch, *given, *command],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    result = json.loads(line)
    assert (result["processes"], result["steps"]) == (2, 2)
    assert (tmp_path / "run" / "model.safetensors").exists()
