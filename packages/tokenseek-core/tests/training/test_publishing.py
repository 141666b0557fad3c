"""The end of a fine-tuning on the hub, which no test reaches."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from saved_llama import save_llama, save_records
from tokenseek_core.cli import main
from tokenseek_core.training import _publishing


@pytest.fixture
def finetune(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Two steps that are to go to a repository."""
    monkeypatch.setattr(_publishing, "get_token", lambda: "hf_of_nobody")
    model = save_llama(tmp_path / "model")
    records = save_records(tmp_path / "train.jsonl")
    sources = ("--model", str(model), "--data", str(records), "--output", str(tmp_path / "run"))
    options = ("--steps", "2", "--max-length", "32", "--ratio", "0.4", "--quiet")

    def run(repository: str, *others: str) -> int:
        return main(["finetune", *sources, *options, *others, "--push-to-hub", repository])

    return run


def test_the_folder_goes_to_the_hub_with_a_card_and_without_checkpoints(
    finetune: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[tuple[str, dict[str, Any]]] = []

    class Hub:
        def create_repo(self, name: str, *, exist_ok: bool) -> None:
            sent.append((name, {"exist_ok": exist_ok}))

        def upload_folder(self, **options: Any) -> None:
            sent.append(("upload", options))
            folder = Path(options["folder_path"])
            assert not [path for path in folder.iterdir() if path.name.startswith(".")]

    monkeypatch.setattr(_publishing, "HfApi", Hub)
    assert finetune("me/red", "--lora") == 0
    (made, _), (_, options) = sent
    assert made == options["repo_id"] == "me/red"
    assert options["folder_path"] == tmp_path / "run"
    assert "checkpoint-*" in options["ignore_patterns"]
    card = (tmp_path / "run" / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: peft\n"), "a folder is no base on the hub"
    assert "# red\n\nmodel, fine-tuned by `tokenseek finetune`." in card
    assert 'AutoPeftModelForCausalLM.from_pretrained("me/red")' in card
    assert "| adapter | lora |\n| ratio | 0.4 |\n| learning rate | 0.0002 |" in card
    record = json.loads((tmp_path / "run" / "finetune.json").read_text())
    assert f"| train loss last | {record['result']['train_loss_last']:.4g} |" in card


def test_without_a_network_the_folder_stays_and_one_sentence_says_so(
    finetune: Callable[..., int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Hub:
        def create_repo(self, name: str, *, exist_ok: bool) -> None:
            raise ConnectionError("no route to host.\nmore of it")

    monkeypatch.setattr(_publishing, "HfApi", Hub)
    assert finetune("me/red") == 1
    folder = tmp_path / "run"
    assert capsys.readouterr().err == (
        "error: push_to_hub (me/red) must be something that the hub takes, but ConnectionError "
        f"came (no route to host); the model stays in {folder}, send it later with "
        f"`hf upload me/red {folder} --exclude 'checkpoint-*'`\n"
    )
    assert (folder / "model.safetensors").exists()
    assert "result" in json.loads((folder / "finetune.json").read_text())


@pytest.mark.parametrize(
    ("name", "token", "expected"),
    [
        (
            "me/red/blue",
            "hf",
            "push_to_hub (me/red/blue) must be the name of a repository such as you/model; choose "
            "another",
        ),
        (
            "me/red",
            None,
            "push_to_hub (me/red) must have a token of the hub; run `hf auth login`, or set "
            "HF_TOKEN",
        ),
    ],
)
def test_what_could_never_be_sent_is_refused_before_training(
    name: str,
    token: str | None,
    expected: str,
    finetune: Callable[..., int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(_publishing, "get_token", lambda: token)
    assert finetune(name) == 2
    assert capsys.readouterr().err == f"error: {expected}\n"
    assert not (tmp_path / "run").exists()
