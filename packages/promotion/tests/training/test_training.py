from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from promotion import ProMotion, ProMotionConfig
from promotion._model import TaskName
from promotion.datasets import open_folder
from promotion.io import write_depth, write_flow, write_image
from promotion.metrics import FlowAccumulator
from promotion.scenes import SceneConfig, render_scene
from promotion.training import StageConfig, Trainer, TrainingConfig
from promotion.training._average import WeightAverage
from promotion.training._batches import StepBatches
from promotion.training._checkpoints import checkpoints
from promotion.training._config import PartName
from promotion.training._evaluate import evaluate_folder
from promotion.training._folders import FolderConfig
from promotion.training._schedule import rate
from promotion.training._start import leaves_unused, unused_in
from tokenseek_common import RunError
from tokenseek_common.cli import Console
from tokenseek_common.tuning import freeze


def stage_of(**changes: Any) -> StageConfig:
    settings: dict[str, Any] = {
        "name": "first",
        "steps": 4,
        "batch_size": 2,
        "sizes": ((32, 40), (24, 32)),
        "iterations": 2,
    }
    return StageConfig(**settings | changes)


def config_of(**changes: Any) -> TrainingConfig:
    settings: dict[str, Any] = {
        "stages": (stage_of(), stage_of(name="second", tasks=("flow",), encoder_rate=0.1)),
        "model": ProMotionConfig.size("nano"),
        "workers": 0,
        "reuse": 2,
        "save_every": 3,
        "evaluate_every": 4,
        "held_out": 2,
    }
    return TrainingConfig(**settings | changes)


def train(config: TrainingConfig, folder: Path) -> ProMotion:
    folder.mkdir(exist_ok=True)
    return Trainer(config, folder, Console(quiet=True)).run()


def log_of(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def equal(first: ProMotion, second: ProMotion) -> bool:
    other = second.state_dict()
    return all(torch.equal(value, other[name]) for name, value in first.state_dict().items())


def write_pairs(folder: Path, count: int) -> None:
    """A data set of pairs that are large enough for `predict`."""
    folder.mkdir()
    for number in range(count):
        scene = render_scene(SceneConfig(height=24, width=32), number)
        write_image(folder / f"{number}_img1.png", scene.image1)
        write_image(folder / f"{number}_img2.png", scene.image2)
        write_flow(folder / f"{number}_flow.flo", scene.flow)


def test_a_training_writes_weights_log_and_checkpoints(tmp_path: Path) -> None:
    write_pairs(tmp_path / "chairs", 1)
    folder = tmp_path / "run"
    model = train(config_of(validation=(FolderConfig(path=tmp_path / "chairs"),)), folder)
    assert equal(ProMotion.from_pretrained(folder), model)
    assert [line["step"] for line in log_of(folder)] == [4, 8]
    figures = {"epe", "epe_zero", "abs_rel", "abs_rel_median", "epe_chairs"}
    assert figures <= log_of(folder)[0].keys()
    assert [path.name for path in checkpoints(folder)] == ["step-00000003", "step-00000006"]


@pytest.mark.parametrize(("task", "figure"), [("flow", "epe"), ("depth", "abs_rel")])
def test_only_what_is_trained_is_measured(tmp_path: Path, task: TaskName, figure: str) -> None:
    train(config_of(stages=(stage_of(tasks=(task,)),)), tmp_path)
    (line,) = (line for line in log_of(tmp_path) if "loss_total" not in line)
    measured = {name for name in line if name.startswith(("epe", "abs_rel"))}
    assert measured == {figure, *(name for name in measured if name.startswith(f"{figure}_"))}


def test_losses_are_logged_as_the_mean_of_some_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("promotion.training._trainer.LOG_EVERY", 2)
    train(config_of(stages=(stage_of(),)), tmp_path)
    lines = [line for line in log_of(tmp_path) if "loss_total" in line]
    assert [line["step"] for line in lines] == [2, 4]
    assert all(line["loss_flow"] > 0 and line["loss_depth"] > 0 for line in lines)


@pytest.mark.parametrize(
    ("number", "kind"), [(signal.SIGTERM, RunError), (signal.SIGINT, KeyboardInterrupt)]
)
def test_a_run_that_was_asked_to_end_goes_on_as_if_it_had_not(
    number: int, kind: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of()
    whole = train(config, tmp_path / "whole")
    taken = Trainer._take_step

    def ended(trainer: Trainer, batch: Any) -> dict[str, float]:
        if trainer.step == 4:
            os.kill(os.getpid(), number)
        return taken(trainer, batch)

    monkeypatch.setattr(Trainer, "_take_step", ended)
    with pytest.raises(kind) as error:
        train(config, tmp_path / "cut")
    assert str(error.value) == (
        "training was asked to end at step 5 of 8, and has saved itself; go on with the same "
        f"config, --output {tmp_path / 'cut'} and --resume"
    )
    monkeypatch.setattr(Trainer, "_take_step", taken)
    (tmp_path / "cut" / "step-00000007.partial").mkdir()  # cut off in mid-save
    assert equal(train(config, tmp_path / "cut"), whole)


def test_a_loss_that_is_not_finite_ends_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("promotion._losses.flow_loss", lambda *_: torch.tensor(torch.inf))
    with pytest.raises(RunError) as error:
        train(config_of(), tmp_path)
    assert str(error.value) == "loss (inf) must be finite at step 0; lower the learning_rate"


def test_training_starts_from_given_weights(tmp_path: Path) -> None:
    given = ProMotion(ProMotionConfig.size("nano"))
    given.save_pretrained(tmp_path / "given")
    (tmp_path / "run").mkdir()
    config = config_of(start=str(tmp_path / "given"))
    trainer = Trainer(config, tmp_path / "run", Console(quiet=True))
    assert equal(trainer.bare, given)


def test_prototypes_are_held_still_at_the_begin_of_a_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frozen = []
    taken = Trainer._take_step

    def watched(trainer: Trainer, batch: Any) -> dict[str, float]:
        figures = taken(trainer, batch)
        assert trainer.bare.learner is not None
        frozen.append(trainer.bare.learner.memory.frozen)
        return figures

    monkeypatch.setattr(Trainer, "_take_step", watched)
    train(config_of(stages=(stage_of(), stage_of(frozen_memory=0.5))), tmp_path)
    assert frozen == [False] * 4 + [True] * 2 + [False] * 2


@pytest.mark.parametrize(
    ("frozen", "moved"),
    [
        (("features", "flow"), {"depth"}),
        (("depth",), {"encoder", "denoiser", "learner", "flow"}),
        ((), {"encoder", "denoiser", "learner", "flow", "depth"}),
    ],
)
def test_frozen_parts_stay_as_they_are(
    tmp_path: Path, frozen: tuple[PartName, ...], moved: set[str]
) -> None:
    config = config_of(stages=(stage_of(frozen=frozen),))
    trainer = Trainer(config, tmp_path, Console(quiet=True))
    before = {name: value.clone() for name, value in trainer.bare.state_dict().items()}
    trainer.run()
    after = trainer.bare.state_dict()
    assert {name.split(".")[0] for name in before if not before[name].equal(after[name])} == moved
    assert leaves_unused(config) == bool(frozen)


@pytest.mark.parametrize("em_steps", [0, 1])
@pytest.mark.parametrize("tasks", [("flow",), ("depth",), ("flow", "depth")])
def test_it_is_known_which_steps_leave_parameters_unused(
    tmp_path: Path, tasks: tuple[TaskName, ...], em_steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = stage_of(steps=1, tasks=tasks)
    config = config_of(model=ProMotionConfig.size("nano", em_steps=em_steps), stages=(stage,))
    trainer = Trainer(config, tmp_path, Console(quiet=True))
    monkeypatch.setattr(trainer.optimizer, "zero_grad", lambda: None)
    trainer.run()
    unused = {name for name, p in trainer.bare.named_parameters() if p.grad is None}
    told = set(freeze(trainer.bare, *unused_in(stage, config)))
    assert unused == told
    assert bool(unused) == leaves_unused(config) == (em_steps == 0 or len(tasks) == 1)


def test_after_the_first_steps_it_is_told_what_has_not_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("promotion.training._trainer.MOVEMENT_STEPS", 3)
    config = config_of(stages=(stage_of(tasks=("flow",), frozen=("features",)),))
    folders = [tmp_path / name for name in ("well", "ill", "off")]
    for folder in folders:
        folder.mkdir()
    Trainer(config, folders[0], Console()).run()
    out, err = capsys.readouterr()
    assert [line.split()[:3] for line in out.splitlines()[4:] if line.strip()] == [
        ["encoder", "0", "42584"],
        ["denoiser", "0", "4608"],
        ["learner", "0", "9442"],
        ["flow", "179681", "0"],
        ["depth", "178657", "0"],
        ["all", "358338", "56634"],
    ]
    assert "not trained" not in err

    monkeypatch.setattr("promotion.training._trainer.unused_in", lambda *_: [])
    Trainer(config, folders[1], Console()).run()
    out, err = capsys.readouterr()
    assert "trainable tensors (18 of 39 not trained in 3 steps) must all have a finite" in err
    assert "depth.gru" in out
    Trainer(config, folders[2], Console(), movement_check=False).run()
    assert "not trained" not in capsys.readouterr().err


def test_a_model_without_prototypes_can_be_trained(tmp_path: Path) -> None:
    model = ProMotionConfig.size("nano", prototypes=0, denoiser_blocks=0)
    train(config_of(model=model, stages=(stage_of(),)), tmp_path)
    assert "usage_entropy" not in log_of(tmp_path)[0]


def test_a_step_sees_the_same_whoever_asks_and_each_process_its_own() -> None:
    config = config_of()
    first, again = StepBatches(config), StepBatches(config)
    again.batch(0)
    assert torch.equal(first.batch(3).image1, again.batch(3).image1)
    ranks = [StepBatches(config, rank=rank, processes=2).batch(3) for rank in range(2)]
    assert ranks[0].image1.shape == ranks[1].image1.shape
    assert not torch.equal(ranks[0].image1, ranks[1].image1)
    assert len(first) == 8


def test_a_scene_is_used_again_and_varied_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    rendered: list[int] = []
    monkeypatch.setattr("promotion.training._batches.POOL", 4)
    batches = StepBatches(config_of(stages=(stage_of(sizes=((24, 32),)),)))
    from promotion.training import _batches

    scene = _batches._scene.__wrapped__

    def counted(config: SceneConfig, seed: int) -> Any:
        rendered.append(seed)
        return scene(config, seed)

    monkeypatch.setattr(_batches, "_scene", counted)
    seen = [batches.batch(step).image1 for step in range(4)]
    assert rendered == [0, 1, 2, 3, 0, 1, 2, 3]
    assert not torch.equal(seen[0], seen[2])


@pytest.mark.parametrize(
    ("scenes_share", "share", "fewest", "most"),
    [(1.0, 1.0, 30, 70), (1.0, 4.0, 65, 95), (0.0, 1.0, 100, 100)],
)
def test_folders_are_drawn_from_by_their_shares(
    tmp_path: Path, scenes_share: float, share: float, fewest: int, most: int
) -> None:
    write_pairs(tmp_path / "pairs", 1)
    scenes = SceneConfig(height=32, width=40)
    folder = FolderConfig(path=tmp_path / "pairs", share=share)
    stage = stage_of(folders=(folder,), scenes_share=scenes_share)
    batches = StepBatches(config_of(stages=(stage,)))
    generator = torch.Generator().manual_seed(0)
    drawn = [batches._source(stage, 0, scenes, generator).image1.shape for _ in range(100)]
    assert fewest <= sum(shape[-2:] == (24, 32) for shape in drawn) <= most


def test_evaluations_measure_folders_as_predict_sees_them(tmp_path: Path) -> None:
    write_pairs(tmp_path / "moving", 3)
    (tmp_path / "still").mkdir()
    write_image(tmp_path / "still" / "frame-0.color.png", torch.rand(3, 24, 32))
    write_depth(tmp_path / "still" / "frame-0.depth.png", torch.ones(24, 32), scale=1000)
    model = ProMotion(ProMotionConfig.size("nano")).eval()
    moving, still = (open_folder(tmp_path / name) for name in ("moving", "still"))
    figures = evaluate_folder(model, moving, 2)
    pairs = FlowAccumulator()
    for number in (0, 1):
        sample = moving[number]
        flow = model.predict(sample.image1, sample.image2).flow
        assert flow is not None
        pairs.update(flow, sample.flow, sample.flow_valid)
    assert figures == {"epe": pairs.compute().epe}
    assert evaluate_folder(model, still, 8).keys() == {"abs_rel"}


def test_rates_rise_and_fall_once_in_each_stage() -> None:
    stages = (stage_of(steps=100, learning_rate=1.0), stage_of(steps=100, learning_rate=0.5))
    config = config_of(stages=stages)
    rates = [rate(config, step) for step in range(200)]
    assert rates[0] == pytest.approx(1 / 25)
    assert [max(rates[:100]), max(rates[100:])] == pytest.approx([1, 0.5])
    assert rates.index(max(rates)) == 5
    assert rates[99] < 0.02
    assert rates[99] < rates[105]
    assert rate(config, 200) == rates[199]
    with pytest.raises(IndexError):
        config.stage_at(200)


def test_the_average_follows_the_weights() -> None:
    layer = torch.nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        layer.weight.fill_(0.0)
        average = WeightAverage(layer, 0.5)
        expected: list[Tensor] = [layer.weight.clone()]
        for value in (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0):
            layer.weight.fill_(value)
            average.update()
            step = len(expected)
            decay = min(0.5, (1 + step) / (10 + step))
            expected.append(decay * expected[-1] + (1 - decay) * layer.weight)
    torch.testing.assert_close(average.weights()["weight"], expected[-1])
    other = WeightAverage(torch.nn.Linear(1, 1, bias=False), 0.5)
    other.load_state_dict(average.state_dict())
    assert other.steps == 12
    assert torch.equal(other.averages["weight"], average.averages["weight"])
