from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import (
    BloomConfig,
    DebertaV2Config,
    GPTJConfig,
    GraniteConfig,
    Lfm2Config,
    MambaConfig,
    PreTrainedConfig,
    SamConfig,
    SwinConfig,
)

from families import FAMILIES
from saved_llama import save_llama
from tiny_models import tiny_config
from tokenseek_core._families import FAMILIES as REGISTERED
from tokenseek_core.cli import main
from tokenseek_core.models import _verdict
from tokenseek_core.models._verdict import judge

LFM2 = Lfm2Config(layer_types=["conv", "full_attention"] * 16)


def saved(folder: Path, settings: PreTrainedConfig) -> Path:
    settings.save_pretrained(folder)
    return folder / "config.json"


def asked(capsys: pytest.CaptureFixture[str], model: Path | str, *options: str) -> dict[str, Any]:
    """The result of a run that ends well."""
    assert main(["supported", str(model), "--json", *options]) == 0
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert list(result) == ["model", "model_type", "supported", "answer", "reason", "notes"]
    assert result["model"] == str(model)
    assert result["supported"] == (result["answer"] != "no")
    return result


@pytest.mark.parametrize("family", FAMILIES)
def test_a_tested_family_gets_a_yes_with_its_notes(
    family: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = asked(capsys, saved(tmp_path, tiny_config(family)))
    assert result["answer"] == "yes"
    assert result["model_type"] == family.partition("-")[0]
    known = REGISTERED[result["model_type"]]
    assert result["reason"] == (
        f"{known.name} is a tested family, and passes the self-check on a small model of that "
        "config"
    )
    assert result["notes"] == list(known.notes)


@pytest.mark.parametrize("family", list(REGISTERED))
def test_configs_of_real_sizes_are_made_small(family: str) -> None:
    verdict = judge(type(tiny_config(family))())
    assert verdict.answer == "yes"
    assert "passes the self-check" in verdict.reason


def test_an_untested_decoder_that_passes_the_check_is_likely(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = asked(capsys, saved(tmp_path, GraniteConfig()))
    assert result["answer"] == "likely"
    assert result["reason"].startswith("passes the self-check on a small model of that config; ")
    assert "Llama, Qwen2" in result["reason"]


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        (MambaConfig(), "model (MambaForCausalLM) has no attention; its tokens mix in other ways"),
        (DebertaV2Config(), "model (DebertaV2ForMaskedLM) must dispatch through transformers'"),
        (BloomConfig(), "model (BloomForCausalLM) must dispatch through transformers' attention"),
        (GPTJConfig(), "model (GPTJForCausalLM) must dispatch through transformers' attention"),
        (
            LFM2,
            "model (Lfm2ForCausalLM) must mix tokens in attention only: replayed rows differ",
        ),
        (
            SwinConfig(),
            "model (SwinAttention) must attend from all rows of an instance at once and",
        ),
        (SamConfig(), "transformers has no model of type sam that is made of encoder, decoder"),
    ],
    ids=["mamba", "deberta", "bloom", "gptj", "lfm2", "swin", "sam"],
)
def test_what_cannot_be_trained_gets_a_no_with_the_reason(
    settings: PreTrainedConfig,
    reason: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    result = asked(capsys, saved(tmp_path, settings))
    assert result["answer"] == "no"
    assert result["reason"].startswith(reason)
    assert result["notes"] == []


def test_a_tested_family_in_a_form_that_cannot_be_trained_gets_a_no(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = tiny_config("mixtral")
    settings.output_router_logits = True
    result = asked(capsys, saved(tmp_path, settings))
    assert result["answer"] == "no"
    assert result["reason"].startswith("output_router_logits must be unset in a TokenSeek step")


def test_a_type_that_transformers_does_not_know_gets_a_no(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "config.json"
    file.write_text('{"model_type": "unheard_of"}')
    result = asked(capsys, file)
    assert result["answer"] == "no"
    assert result["reason"].endswith("has no model of type unheard_of")


@pytest.mark.parametrize(
    ("settings", "answer", "reason"),
    [
        (
            tiny_config("llama"),
            "yes",
            "Llama is a tested family, and has the parts that are needed",
        ),
        (GraniteConfig(), "likely", "has the parts that are needed, but the self-check was not"),
        (MambaConfig(), "no", "model (MambaForCausalLM) has no attention"),
        (LFM2, "no", "model (Lfm2ForCausalLM) has convolutions"),
        (GPTJConfig(), "no", "model (GPTJForCausalLM) must dispatch through"),
    ],
    ids=["llama", "granite", "mamba", "lfm2", "gptj"],
)
def test_what_cannot_be_made_small_is_looked_at_without_weights(
    settings: PreTrainedConfig, answer: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(settings: PreTrainedConfig) -> PreTrainedConfig:
        raise ValueError("too many sizes")

    monkeypatch.setattr(_verdict, "shrunken", refuse)
    verdict = judge(settings)
    assert verdict.answer == answer
    assert verdict.reason.startswith(reason)


def test_the_answer_is_printed_with_its_notes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["supported", str(saved(tmp_path, tiny_config("gemma2")))]) == 0
    answer, *notes = capsys.readouterr().out.splitlines()
    assert answer.startswith("yes: Gemma 2 is a tested family")
    assert notes == [f"- {note}" for note in REGISTERED["gemma2"].notes]
    assert 'attn_implementation="eager"' in notes[0]


def test_a_folder_is_read_and_the_answer_written_where_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = save_llama(tmp_path / "model")
    (folder / "model.safetensors").unlink()  # weights are not needed
    output = tmp_path / "run"
    result = asked(capsys, folder, "--output", str(output))
    assert result["answer"] == "yes"
    assert json.loads((output / "supported.json").read_text()) == result


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (
            "/nowhere/model",
            "model (/nowhere/model) must be a folder with a config.json; "
            "give such a folder, a hub id or smollm2",
        ),
        (
            "/nowhere/config.json",
            "model (/nowhere/config.json) must be an existing file; check the path",
        ),
    ],
)
def test_a_model_that_is_not_there_is_refused(
    model: str, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["supported", model]) == 2
    assert capsys.readouterr().err == f"error: {expected}\n"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("{", "must have a config that transformers can read (It looks like the config file at"),
        ("{}", "must have a config with a model_type; give one that save_pretrained wrote"),
        (
            '{"model_type": "llama", "num_hidden_layers": "many"}',
            "must have a config that transformers can read (",
        ),
    ],
    ids=["malformed", "no type", "wrong value"],
)
def test_a_config_that_cannot_be_read_is_refused(
    content: str, expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "config.json"
    file.write_text(content)
    assert main(["supported", str(file)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"error: model ({file}) {expected}")
    assert err.count("\n") == 1


def test_the_model_must_be_given(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["supported"]) == 2
    assert capsys.readouterr().err == "error: MODEL must be given; see tokenseek supported --help\n"
