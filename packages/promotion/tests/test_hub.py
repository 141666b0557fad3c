"""Weights that go to the hub and come back, by a hub that is a folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from promotion import ProMotion, ProMotionConfig, _pretrained
from tokenseek_common import InputError


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where repositories lie."""

    class Hub:
        def __init__(self, **_: Any) -> None:
            pass

        def create_repo(self, repo_id: str, *, private: bool | None, exist_ok: bool) -> Any:
            assert exist_ok
            return SimpleNamespace(repo_id=repo_id)

        def upload_folder(self, *, repo_id: str, folder_path: Path, **_: Any) -> str:
            shutil.copytree(folder_path, tmp_path / "hub" / repo_id)
            return f"hub/{repo_id}"

    def download(repo_id: str, *, allow_patterns: list[str], revision: str | None = None) -> str:
        assert revision in (None, "main")
        chosen = tmp_path / "downloaded"
        chosen.mkdir()
        for name in allow_patterns:
            shutil.copy(tmp_path / "hub" / repo_id / name, chosen)
        return str(chosen)

    monkeypatch.setattr("huggingface_hub.hub_mixin.HfApi", Hub)
    monkeypatch.setattr(_pretrained, "snapshot_download", download)
    return tmp_path / "hub"


def nano() -> ProMotion:
    torch.manual_seed(0)
    return ProMotion(ProMotionConfig.size("nano", prototypes=9))


def test_weights_come_back_from_the_hub_as_they_went(hub: Path) -> None:
    model = nano()
    model.push_to_hub("me/flow")
    found = ProMotion.from_pretrained("me/flow", revision="main")
    assert not found.training
    assert found.config == model.config
    pair = torch.rand(2, 3, 32, 40)
    ours, theirs = (each.predict(*pair).flow for each in (model, found))
    assert ours is not None
    assert theirs is not None
    assert ours.equal(theirs)
    files = {path.name for path in (hub / "me" / "flow").iterdir()}
    assert files == {"README.md", "config.json", "model.safetensors"}


def test_the_card_says_what_they_are_and_how_they_are_loaded(hub: Path) -> None:
    nano().push_to_hub("me/flow")
    card = (hub / "me" / "flow" / "README.md").read_text()
    head, text = card.removeprefix("---\n").split("---\n", 1)
    for line in ("library_name: promotion-flow", "license: apache-2.0", "- optical-flow"):
        assert f"{line}\n" in head
    assert "from promotion import ProMotion" in text
    assert "{{" not in card


def test_weights_of_a_newer_version_are_told_by_what_is_new(tmp_path: Path) -> None:
    nano().save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"stride4": 1, "polish": 2}))
    with pytest.raises(InputError) as caught:
        ProMotion.from_pretrained(tmp_path)
    assert str(caught.value) == (
        f"weights ({tmp_path}) must be of a version that this one reads, and their config.json has "
        "polish, stride4; upgrade promotion-flow"
    )


def test_weights_that_lack_a_tensor_are_told_by_its_name(tmp_path: Path) -> None:
    nano().save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    weights = load_file(path)
    name = min(weights)
    save_file({key: value for key, value in weights.items() if key != name}, path)
    with pytest.raises(InputError) as caught:
        ProMotion.from_pretrained(tmp_path)
    assert str(caught.value) == (
        f"weights ({tmp_path}) must fit the config in {tmp_path / 'config.json'}; {name} is "
        "missing from them"
    )
