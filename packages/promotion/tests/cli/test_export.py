from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from promotion import ProMotion, ProMotionConfig
from promotion.cli import main


def test_export_writes_a_graph_and_what_it_takes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    ProMotion(ProMotionConfig.size("nano")).save_pretrained(tmp_path / "nano")
    options = ["--weights", str(tmp_path / "nano"), "--format", "torch", "--iterations", "1"]
    assert main(["export", "-o", str(tmp_path / "out"), *options, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    written = json.loads((tmp_path / "out" / "export.json").read_text())
    assert {**written, "output": str(tmp_path / "out")} == told
    assert (written["path"], written["iterations"]) == ("promotion.pt2", 1)
    run = torch.export.load(tmp_path / "out" / "promotion.pt2").module()
    side = written["smallest_side"]
    flow, depth = run(*torch.rand(2, 1, 3, side, side + 8))
    assert flow.shape == (1, 2, side, side + 8)
    assert depth.shape == (1, side, side + 8)
    assert main(["export", "-o", str(tmp_path / "out"), *options]) == 2
    assert main(["export", "--iterations", "0"]) == 2
