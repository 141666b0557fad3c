from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

from promotion import ProMotion, ProMotionConfig, ProMotionOutput
from promotion._config import SizeName
from promotion._model import TaskName
from tokenseek_common import InputError


def nano(**changes: Any) -> ProMotion:
    torch.manual_seed(0)
    return ProMotion(ProMotionConfig.size("nano", **changes))


def pair_of(b: int = 1, h: int = 32, w: int = 40) -> Tensor:
    return torch.rand(2, b, 3, h, w, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("size", "millions"), [("nano", 0.415), ("tiny", 1.51), ("base", 5.72), ("large", 15.7)]
)
def test_sizes_have_the_parameters_they_are_known_by(size: SizeName, millions: float) -> None:
    with torch.device("meta"):
        model = ProMotion(ProMotionConfig.size(size))
    count = sum(parameter.numel() for parameter in model.parameters())
    assert count / 1e6 == pytest.approx(millions, rel=0.01)


def test_training_gives_every_step_and_its_losses() -> None:
    output = nano().train()(*pair_of(2))
    assert [flow.shape for flow in output.flows] == [(2, 2, 32, 40)] * 4  # the start and 3 steps
    assert [depth.shape for depth in output.depths] == [(2, 32, 40)] * 2
    assert output.assignments.shape == (2, 4, 5)
    assert output.denoising_loss.shape == output.margin_loss.shape == (4,)


def test_testing_gives_the_last_step_alone() -> None:
    output = nano().eval()(*pair_of())
    assert (len(output.flows), len(output.depths)) == (1, 1)
    assert output.denoising_loss is None
    assert output.margin_loss is None


def test_a_batch_equals_its_pictures() -> None:
    model = nano().eval()
    first, second = pair_of(3)
    together = model(first, second)
    for i in range(3):
        alone = model(first[i : i + 1], second[i : i + 1])
        torch.testing.assert_close(alone.flows[0][0], together.flows[0][i], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(alone.depths[0][0], together.depths[0][i], rtol=1e-4, atol=1e-4)


def test_one_picture_has_depth_and_no_flow() -> None:
    output = nano().eval()(pair_of()[0])
    assert output.flows == []
    assert output.depths[0].shape == (1, 32, 40)


@pytest.mark.parametrize("tasks", [("flow",), ("depth",), ("flow", "depth")])
def test_only_what_is_wanted_is_decoded(tasks: tuple[TaskName, ...]) -> None:
    output = nano().eval()(*pair_of(), tasks=tasks)
    assert bool(output.depths) == ("depth" in tasks)
    assert bool(output.flows) == ("flow" in tasks)


@pytest.mark.parametrize("changes", [{"denoiser_blocks": 0}, {"prototypes": 0}, {"matching": 0}])
def test_mechanisms_can_be_left_out(changes: dict[str, int]) -> None:
    output = nano(**changes).train()(*pair_of())
    assert (output.denoising_loss is None) == ("denoiser_blocks" in changes)
    assert (output.margin_loss is None) == ("prototypes" in changes)
    assert (not output.flows[0].any()) == ("matching" in changes)


def test_every_parameter_learns() -> None:
    model = nano().train()
    assert model.learner is not None
    with torch.no_grad():
        model.learner.gates.fill_(0.5)  # which begin at 0 and hold back what is behind them
    output = model(*pair_of(2))
    parts = [*output.flows, *output.depths, output.denoising_loss, output.margin_loss]
    sum(part.square().sum() for part in parts).backward()
    without = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


def test_depth_does_not_shape_the_motion() -> None:
    model = nano().train()
    model(*pair_of()).depths[-1].sum().backward()
    assert all(parameter.grad is None for parameter in model.flow.parameters())


def test_a_saved_model_comes_back_the_same(tmp_path: Path) -> None:
    model = nano(prototypes=5).eval()
    model.save_pretrained(tmp_path)
    loaded = ProMotion.from_pretrained(tmp_path).eval()
    assert loaded.config == model.config
    assert torch.equal(loaded(*pair_of()).flows[0], model(*pair_of()).flows[0])


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        (
            (32, 40),
            (32, 48),
            "image2 ((1, 3, 32, 48)) must have the shape of image1 ((1, 3, 32, 40)); "
            "resize one of them",
        ),
        (
            (30, 40),
            (30, 40),
            "image1 (30 x 40) must have sides that are multiples of 8; use predict, which pads",
        ),
    ],
)
def test_pictures_that_do_not_fit_are_refused(
    first: tuple[int, int], second: tuple[int, int], said: str
) -> None:
    with pytest.raises(InputError) as error:
        nano()(torch.rand(1, 3, *first), torch.rand(1, 3, *second))
    assert str(error.value) == said


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"radius": 0}, "radius (0) must be at least 1; choose a larger one"),
        ({"prototypes": -1}, "prototypes (-1) must be at least 0; choose a larger one"),
        (
            {"stem": 12},
            "stem (12) must be a multiple of 8, channels are normalised eight together; "
            "choose another",
        ),
        (
            {"heads": 5},
            "channels (32) must be divisible by heads (5); choose another number of heads",
        ),
        (
            {"momentum": 2.0},
            "momentum (2.0) must be from 0 to 1; 0.99 suits short trainings, 0.999 long ones",
        ),
    ],
)
def test_configs_out_of_range_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as error:
        ProMotionConfig.size("nano", **changes)
    assert str(error.value) == said


def test_unknown_sizes_and_fields_are_refused() -> None:
    with pytest.raises(InputError) as error:
        ProMotionConfig.size("huge")  # type: ignore[arg-type]
    assert str(error.value) == "size (huge) must be one of nano, tiny, base, large; choose one"
    with pytest.raises(InputError, match=r"^layers must be a field of the model's config; choose"):
        ProMotionConfig.size("nano", layers=3)
    assert set(get_args(SizeName)) == {"nano", "tiny", "base", "large"}


def test_weights_come_back_whole_and_silently(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = ProMotion(ProMotionConfig.size("nano"))
    model.save_pretrained(tmp_path)
    loaded = ProMotion.from_pretrained(tmp_path)
    assert not loaded.training
    assert loaded.config == model.config
    found = loaded.state_dict()
    assert all(torch.equal(value, found[name]) for name, value in model.state_dict().items())
    assert capsys.readouterr().out == ""
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "license: apache-2.0" in card
    assert "`promotion.ProMotion.from_pretrained`, of the package promotion-flow" in card


def test_weights_that_are_not_there_are_refused() -> None:
    with pytest.raises(InputError) as error:
        ProMotion.from_pretrained("some/absent-model", local_files_only=True)
    assert str(error.value) == (
        "weights (some/absent-model) must be a folder, or the id of a model on the hub that can "
        "be reached; check the name"
    )
    with pytest.raises(InputError, match=r"^weights \(no/such/place\) must be a folder, or "):
        ProMotion.from_pretrained("no/such/place")


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    ProMotion(ProMotionConfig.size("nano")).save_pretrained(tmp_path)
    with pytest.raises(InputError) as error:
        ProMotion.from_pretrained(tmp_path, config=ProMotionConfig.size("nano", channels=64))
    assert str(error.value) == (
        f"weights ({tmp_path}) must fit the config that was given; denoiser.blocks.0.dictionary."
        "weight is [32, 32], not [64, 64]"
    )
    config = tmp_path / "config.json"
    content = json.loads(config.read_text())
    config.write_text(json.dumps(content | {"prototypes": 0}))
    with pytest.raises(InputError) as error:
        ProMotion.from_pretrained(tmp_path)
    assert str(error.value) == (
        f"weights ({tmp_path}) must fit the config in {config}; learner.feed_forward.0.bias of "
        "them is not in the model"
    )


@pytest.mark.parametrize("content", ["", "[1]", '{"chanels": 8}'])
def test_a_folder_without_weights_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(InputError, match=r"must be a folder with config.json and model.safetens"):
        ProMotion.from_pretrained(tmp_path)


def test_an_output_is_a_tree_of_its_tensors_as_exporting_a_model_needs() -> None:
    output = ProMotionOutput([torch.zeros(1, 2, 8, 8)], [torch.ones(1, 8, 8)])
    leaves, structure = tree_flatten(output)
    assert [leaf.shape for leaf in leaves if leaf is not None] == [(1, 2, 8, 8), (1, 8, 8)]
    again = tree_unflatten(leaves, structure)
    assert again.flows[0] is output.flows[0]
    assert again.coarse is None
