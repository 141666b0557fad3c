"""Options from a file: `--config`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mept.cli import main
from mept.cli._config_file import with_config
from saved import save_tiny


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(
        "task: [boolq, cb=here]\nlearning_rate: 5.0e-1\nsteps: 3\nshared_expert: false\n"
        "resume: true\nlimit: null\ngeneration: true\njson: false\n"
    )
    return path


def test_the_options_of_the_file_come_first_and_given_ones_replace_them(config: Path) -> None:
    file = ["--task", "boolq", "cb=here", "--learning-rate", "0.5", "--steps", "3"]
    switches = ["--no-shared-expert", "--resume"]
    for named in (["--config", str(config)], [f"--config={config}"]):
        assert with_config(["train", *named, "--seed", "1"]) == (
            ["train", *file, *switches, *named, "--seed", "1"]
        )
    given = ["--config", str(config), "--lr", "1", "--max-steps=2", "--task", "rte"]
    assert with_config(["train", *given]) == ["train", *switches, *given]
    given = ["--config", str(config), "--no-shared-expert"]
    assert with_config(["train", *given])[1:] == [*file, "--resume", *given]
    assert with_config(["train", "--seed", "1"]) == ["train", "--seed", "1"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "config ({path}) must be a readable file; check the path"),
        (
            "- 3\n",
            "config ({path}) must hold names of options with their values; write one a line, such "
            "as `steps: 100`",
        ),
        ("stepz: 3\n", "unrecognized option --stepz, perhaps --steps; see mept train --help"),
        ("num_experts: many\n", "--num-experts (many) must be a whole number; see mept train"),
    ],
)
def test_a_file_that_holds_no_options_is_refused(
    content: str | None, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "recipe.yaml"
    if content is not None:
        path.write_text(content)
    assert main(["train", "--config", str(path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {said.format(path=path)}")
    assert error.count("\n") == 1


def test_what_is_no_yaml_is_said_with_its_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("steps: [3\n")
    assert main(["train", "--config", str(path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: config ({path}) must be YAML (")
    assert "line 2" in error


def test_adafactor_takes_its_steps_at_the_learning_rate_as_it_is(
    moods: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = {}

    def fitted(trainer: object, *args: object, **settings: object) -> None:
        optimizer = trainer.create_optimizer()  # type: ignore[attr-defined]
        seen[type(optimizer).__name__] = optimizer.defaults
        raise KeyboardInterrupt

    monkeypatch.setattr("mept.training._fit.train_to_end", fitted)
    model = save_tiny(tmp_path / "model", "bert")
    options = ["--task", f"mood={moods}", "--labels", "glad", "sad", "--quiet"]
    options += ["--optimizer", "adafactor", "--learning-rate", "0.3"]
    command = ["train", "--model", str(model), *options, "-o", str(tmp_path / "run")]
    assert main([*command, "--device", "cpu"]) == 130
    assert seen["Adafactor"]["relative_step"] is False
    assert seen["Adafactor"]["scale_parameter"] is False
    assert json.loads((tmp_path / "run" / "run.json").read_text())["options"]["optimizer"] == (
        "adafactor"
    )
