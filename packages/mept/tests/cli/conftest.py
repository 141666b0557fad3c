from __future__ import annotations

from pathlib import Path

import pytest

from mept.cli import main
from saved import mood_rows, save_rows, save_tiny

TRAINED = ("--steps", "2", "--quiet", "--device", "cpu")
OWN = ("--labels", "glad", "sad")


@pytest.fixture(scope="session")
def moods(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_rows(tmp_path_factory.mktemp("moods") / "mood.jsonl", mood_rows(40))


@pytest.fixture(scope="session")
def runs(moods: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Adapters of classifiers of one task and of two, and one of a model that writes."""
    folder = tmp_path_factory.mktemp("runs")
    models = {family: save_tiny(folder / f"{family}-model", family) for family in ("bert", "llama")}
    tasks = {
        "bert": ("bert", "--task", f"mood={moods}", *OWN),
        "llama": ("llama", "--task", f"mood={moods}", *OWN),
        "mixture": ("bert", "--task", f"mood={moods}", f"weather={moods}", *OWN),
        "docstrings": ("bert", "--max-length", "24"),
    }
    for name, (family, *options) in tasks.items():
        command = ["train", "--model", str(models[family]), *options, *TRAINED]
        assert main([*command, "-o", str(folder / name)]) == 0
    return {name: folder / name for name in tasks}
