from __future__ import annotations

import copy
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from promotion import ProMotion, ProMotionConfig, _export, export_model
from promotion._export import ExportFormat
from tokenseek_common import InputError, RunError


@pytest.fixture(scope="module")
def model() -> ProMotion:
    torch.manual_seed(0)
    model = ProMotion(ProMotionConfig.size("nano"))
    with torch.no_grad():
        for gate in model.parameters():
            gate.add_(0.01 * torch.randn_like(gate))  # what begins at zero takes part as well
    return model.eval()


@pytest.fixture(scope="module")
def traced(model: ProMotion) -> Iterator[None]:
    """Without tracing the same model for every test, which takes seconds."""
    program = _export._traced(_export._Network(model, 2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_export, "_traced", lambda _: program)
        yield


@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize("format", ["torch", "onnx"])
def test_an_exported_model_is_the_model_at_every_size(
    tmp_path: Path, model: ProMotion, format: ExportFormat
) -> None:
    path = tmp_path / f"flow{_export.SUFFIXES[format]}"
    done = export_model(model, path, format=format, iterations=2)
    assert (done.path, done.iterations) == (path, 2)
    assert done.flow_difference < (1e-5 if format == "torch" else 1e-3)
    assert [each.name for each in tmp_path.iterdir()] == [path.name]
    run = (_export._torch_run if format == "torch" else _export._onnx_run)(path)
    side = done.smallest_side
    for pairs, height, width in ((1, side, side), (3, side + 8, side), (2, side, side + 24)):
        pair = torch.rand(2, pairs, 3, height, width)
        with torch.no_grad():
            flow, depth = run(pair[0], pair[1])
            own = model(pair[0], pair[1], iterations=2)
        torch.testing.assert_close(flow, own.flows[-1], rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(depth, own.depths[-1], rtol=1e-3, atol=1e-3)


@pytest.mark.usefixtures("traced")
def test_a_graph_that_differs_is_not_written(
    tmp_path: Path, model: ProMotion, monkeypatch: pytest.MonkeyPatch
) -> None:
    def off(path: Path) -> _export.Run:
        run = torch.export.load(path).module()
        return lambda first, second: (run(first, second)[0] + 0.5, run(first, second)[1])

    monkeypatch.setattr(_export, "_torch_run", off)
    model = copy.deepcopy(model)
    path = tmp_path / "flow.pt2"
    with pytest.raises(RunError) as caught:
        export_model(model.train(), path, iterations=2)
    assert str(caught.value).startswith(
        f"{path} must give the model's flow within 0.01 pixels and its depth within 0.1% (0.5 and 0"
    )
    assert not list(tmp_path.iterdir())
    assert model.training


def test_what_cannot_be_exported_is_refused(
    tmp_path: Path, model: ProMotion, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError) as caught:
        export_model(model, tmp_path / "flow.onnx")
    assert str(caught.value) == f"{tmp_path}/flow.onnx must end in .pt2 for torch; rename it"
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(InputError) as caught:
        export_model(model, tmp_path / "flow.onnx", format="onnx")
    assert str(caught.value) == (
        "format (onnx) must find the package onnxscript, which is absent; "
        'pip install "promotion-flow[onnx]"'
    )


def test_the_exporters_advice_is_left_out_and_comes_back() -> None:
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    with _export._without_advice():
        assert not logger.isEnabledFor(logging.WARNING)
    assert logger.level == level


COMPILED = """
import torch
from promotion import ProMotion, ProMotionConfig

torch.set_num_threads(1)
model = ProMotion(ProMotionConfig.size("nano")).eval()
pair = torch.rand(2, 1, 3, 32, 40)
compiled = torch.compile(model, backend="eager", fullgraph=True)  # raises where it would break
with torch.no_grad():
    torch.testing.assert_close(compiled(*pair).flows[-1], model(*pair).flows[-1])
"""


def test_compiling_breaks_no_graph() -> None:
    """In a process of its own: checks of shapes, which tests have switched on, do break it."""
    subprocess.run([sys.executable, "-c", COMPILED], check=True)
