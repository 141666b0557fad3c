from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from saved_llama import save_llama, save_records, tiny_tokenizer
from tokenseek_common import InputError
from tokenseek_common.data import Template, encode_records, load_records
from tokenseek_core._recorded_step import read_recorded
from tokenseek_core.training import FinetuneSettings, finetune
from tokenseek_core.training._run_record import fingerprint


@pytest.fixture
def settings(tmp_path: Path) -> FinetuneSettings:
    return FinetuneSettings(
        model=str(save_llama(tmp_path / "model")),
        data=str(save_records(tmp_path / "train.jsonl")),
        device="cpu",
        max_length=32,
        steps=1,
        ratio=0.4,
    )


def test_a_model_is_fine_tuned_from_python_in_silence(
    settings: FinetuneSettings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()  # saving the model had a bar
    result = finetune(settings, output=tmp_path / "tuned")
    assert capsys.readouterr() == ("", "")
    assert (result.steps, result.output) == (1, tmp_path / "tuned")
    assert (result.output / "model.safetensors").exists()
    record = json.loads((result.output / "finetune.json").read_text())
    assert record["result"] == result.summary()
    assert record["options"] == settings.decisive


def test_what_is_kept_is_recorded_where_that_is_asked_for(
    settings: FinetuneSettings, tmp_path: Path
) -> None:
    recorded = replace(settings, steps=3, record_every=2, selector="gradient")
    folder = finetune(recorded, output=tmp_path / "tuned").output
    steps = read_recorded(folder / "kept.jsonl")
    assert [step.step for step in steps] == [1, 3]
    for step in steps:
        assert step.shares.all.share == pytest.approx(0.4, abs=0.1)
        assert step.shares.by_class["answer"].kept > 0
        assert step.shares.by_class["special"].tokens > 0, "the tokenizer tells them apart"


def test_records_are_written_out_by_the_template_that_is_asked_for(
    settings: FinetuneSettings, tmp_path: Path
) -> None:
    plain = replace(settings, template="plain", ratio=1.0)
    folder = finetune(plain, output=tmp_path / "tuned").output
    record = json.loads((folder / "finetune.json").read_text())
    records, tokenizer = load_records(settings.data), tiny_tokenizer()
    templates: tuple[Template, ...] = ("plain", "auto")
    prints = [
        fingerprint(encode_records(records, tokenizer, max_length=32, template=template))
        for template in templates
    ]
    assert prints[0] != prints[1]
    assert record["examples"]["data"] == prints[0]


def test_what_cannot_be_used_is_refused_by_the_settings_or_the_function(
    settings: FinetuneSettings, tmp_path: Path
) -> None:
    with pytest.raises(
        InputError, match=r"epochs \(0\) must be above 0 and finite; choose another --epochs"
    ):
        FinetuneSettings(model=settings.model, data=settings.data, epochs=0)
    with pytest.raises(InputError, match=r"output \(None\) must be given with --resume"):
        finetune(settings, resume=True)


def test_without_a_length_the_model_with_few_positions_takes_what_it_has(
    settings: FinetuneSettings, tmp_path: Path
) -> None:
    result = finetune(replace(settings, max_length=None), output=tmp_path / "tuned")
    assert result.steps == 1
