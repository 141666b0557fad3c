from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

from saved_llama import save_llama, save_records
from tokenseek_common.data import Example, encode_records
from tokenseek_core.cli import main
from tokenseek_core.models._pretrained import load_pretrained

needs_bitsandbytes = pytest.mark.skipif(
    importlib.util.find_spec("bitsandbytes") is None, reason='needs "tokenseek-core[qlora]"'
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_llama(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_records(tmp_path_factory.mktemp("data") / "train.jsonl")


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "run"


def finetune(model: Path, records: Path, output: Path, *options: str) -> int:
    return main(
        [
            *("finetune", "--model", str(model), "--data", str(records), "--output", str(output)),
            *("--max-length", "32", "--ratio", "0.4", "--learning-rate", "1e-2", "--device", "cpu"),
            *options,
        ]
    )


def told(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


def weights(folder: Path) -> dict[str, Tensor]:
    (file,) = folder.glob("*.safetensors")
    return load_file(file)


def said(model: Any, folder: Path) -> str:
    """What the model answers to "say red"."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": "say red"}], tokenize=False, add_generation_prompt=True
    )
    asked = tokenizer(text, add_special_tokens=False, return_tensors="pt")
    answered = model.generate(
        input_ids=asked["input_ids"],
        attention_mask=asked["attention_mask"],
        max_new_tokens=4,
        do_sample=False,
    )
    words = tokenizer.decode(answered[0, asked["input_ids"].shape[1] :])
    assert isinstance(words, str)
    return words


# What comes of it


def test_a_model_is_fine_tuned_and_its_folder_reopens_and_answers(
    model: Path, records: Path, output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--epochs", "12", "--selector", "random", "--eval-data", str(records), "--json")
    assert finetune(model, records, output, *options) == 0
    out, err = capsys.readouterr()
    assert "Parameters, 100.00% trained" in err
    assert "not trained" not in err
    result = json.loads(out)
    assert result["steps"] == 72
    assert result["output"] == str(output)
    assert result["eval_loss_after"] < result["eval_loss_before"] / 4
    assert result["train_loss_last"] < result["train_loss_first"]
    assert result["tokens_per_second"] > 0
    assert 0.4 <= result["kept_share"] < 0.5
    assert 0 < result["supervised_share"] < 1

    reopened = AutoModelForCausalLM.from_pretrained(output)
    assert said(reopened, output).startswith("red red red")
    assert reopened.config.use_cache, "training without a cache is no reason to generate without"
    before, after = weights(model), weights(output)
    assert before.keys() == after.keys()
    assert all(not torch.equal(before[name], after[name]) for name in before)


def test_an_adapter_is_fine_tuned_and_its_folder_reopens_and_answers(
    model: Path, records: Path, output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from peft import AutoPeftModelForCausalLM, PeftModel

    options = (
        "--lora",
        "--epochs",
        "8",
        "--learning-rate",
        "3e-2",
        "--eval-data",
        str(records),
        "--json",
    )
    assert finetune(model, records, output, *options) == 0
    out, err = capsys.readouterr()
    assert "base_model.model.model.layers" in err
    assert "not trained" not in err
    result = json.loads(out)
    assert result["eval_loss_after"] < result["eval_loss_before"]
    assert not (output / "model.safetensors").exists()
    adapter = weights(output)
    assert all("lora_" in name for name in adapter)
    assert all(value.any() for name, value in adapter.items() if "lora_B" in name)

    base = AutoModelForCausalLM.from_pretrained(model)
    opened = PeftModel.from_pretrained(base, output)
    assert said(opened, output) == said(AutoPeftModelForCausalLM.from_pretrained(output), output)


def test_an_adapter_of_the_embedded_model_names_a_base_that_others_can_open(
    model: Path,
    records: Path,
    output: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def embedded(source: str, **settings: Any) -> tuple[Any, Any]:
        return load_pretrained(str(model), **settings)

    monkeypatch.setattr("tokenseek_core.training._finetune.check_source", lambda source: None)
    monkeypatch.setattr("tokenseek_core.training._finetune.load_pretrained", embedded)
    assert finetune(Path("smollm2"), records, output, "--lora", "--steps", "1") == 0
    base = "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert (
        json.loads((output / "adapter_config.json").read_text())["base_model_name_or_path"] == base
    )
    assert f"the adapter names {base} as its base" in capsys.readouterr().err


def test_an_adapter_of_a_folder_names_its_base_from_everywhere(
    model: Path, records: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(model.parent)
    assert finetune(Path(model.name), records, output, "--lora", "--steps", "1") == 0
    saved = json.loads((output / "adapter_config.json").read_text())
    assert saved["base_model_name_or_path"] == str(model.resolve())


@pytest.mark.parametrize(
    ("kind", "tensors"),
    [
        ("dora", {"lora_A", "lora_B", "lora_magnitude_vector"}),
        ("loha", {"hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"}),
        pytest.param("qlora", {"lora_A", "lora_B"}, marks=needs_bitsandbytes),
    ],
)
def test_an_adapter_of_each_kind_moves_and_reopens(
    kind: str,
    tensors: set[str],
    model: Path,
    records: Path,
    output: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from peft import AutoPeftModelForCausalLM

    sizes = ("--adapter-rank", "2", "--adapter-targets", "q_proj", "down_proj")
    options = ("--eval-data", str(records), "--epochs", "4", "--learning-rate", "3e-2", "--json")
    assert finetune(model, records, output, "--adapter", kind, *sizes, *options) == 0
    out, err = capsys.readouterr()
    assert "have not moved" not in err
    assert "no gradient" not in err
    result = json.loads(out)
    assert result["eval_loss_after"] < result["eval_loss_before"]
    adapter = weights(output)
    assert {
        name.split(".self_attn.q_proj.")[-1].split(".")[0] for name in adapter if "q_proj" in name
    } == tensors
    assert all("q_proj" in name or "down_proj" in name for name in adapter)
    assert len(adapter) == 2 * 2 * len(tensors)
    assert all(value.any() for value in adapter.values())
    assert 2 in weights(output)[next(iter(adapter))].shape
    assert AutoPeftModelForCausalLM.from_pretrained(output).peft_config["default"].r == 2


@needs_bitsandbytes
def test_a_base_of_four_bits_learns_as_well_whether_or_not_it_is_evaluated_between(
    model: Path, records: Path, tmp_path: Path
) -> None:
    options = ("--adapter", "qlora", "--ratio", "1", "--steps", "4", "--save-steps", "1", "--quiet")
    evaluated = (*options, "--eval-data", str(records))
    assert finetune(model, records, tmp_path / "evaluated", *evaluated) == 0
    assert finetune(model, records, tmp_path / "not", *options) == 0
    torch.testing.assert_close(
        weights(tmp_path / "evaluated"), weights(tmp_path / "not"), rtol=0, atol=0
    )


def test_lora_is_the_adapter_of_that_name(model: Path, records: Path, tmp_path: Path) -> None:
    options = ("--steps", "2", "--quiet")
    assert finetune(model, records, tmp_path / "short", "--lora", *options) == 0
    assert finetune(model, records, tmp_path / "long", "--adapter", "lora", *options) == 0
    torch.testing.assert_close(
        weights(tmp_path / "short"), weights(tmp_path / "long"), rtol=0, atol=0
    )
    both = [
        json.loads((tmp_path / name / "finetune.json").read_text()) for name in ("short", "long")
    ]
    assert both[0]["options"] == both[1]["options"]


@pytest.mark.parametrize("kind", ["lora", "dora", "loha"])
def test_a_merged_model_is_the_base_with_its_adapter(
    kind: str, model: Path, records: Path, tmp_path: Path
) -> None:
    from peft import AutoPeftModelForCausalLM

    options = ("--adapter", kind, "--steps", "2", "--learning-rate", "3e-2", "--quiet")
    assert finetune(model, records, tmp_path / "apart", *options) == 0
    assert finetune(model, records, tmp_path / "merged", *options, "--merge") == 0
    assert not (tmp_path / "merged" / "adapter_config.json").exists()
    ids = torch.arange(6)[None]
    apart = AutoPeftModelForCausalLM.from_pretrained(tmp_path / "apart")
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    base = AutoModelForCausalLM.from_pretrained(model)
    with torch.no_grad():
        expected = apart(ids).logits
        torch.testing.assert_close(merged(ids).logits, expected, rtol=1e-4, atol=1e-4)
        assert (base(ids).logits - expected).abs().max() > 1e-2


def test_dropout_and_weight_decay_change_what_is_learnt(
    model: Path, records: Path, tmp_path: Path
) -> None:
    options = ("--adapter", "lora", "--steps", "3", "--learning-rate", "3e-2", "--quiet")
    runs = {
        "plain": (),
        "dropped": ("--adapter-dropout", "0.5"),
        "decayed": ("--weight-decay", "5"),
    }
    for name, more in runs.items():
        assert finetune(model, records, tmp_path / name, *options, *more) == 0
    length = {
        name: sum(float(value.norm()) for key, value in weights(tmp_path / name).items())
        for name in runs
    }
    assert length["decayed"] < 0.9 * length["plain"]
    assert length["dropped"] != length["plain"]


def test_packed_examples_train_as_padded_ones_do(
    model: Path, records: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--ratio", "1", "--steps", "2", "--batch-size", "24", "--json")
    assert finetune(model, records, tmp_path / "padded", *options) == 0
    padded = told(capsys)
    assert finetune(model, records, tmp_path / "packed", *options, "--packing") == 0
    laid_out = told(capsys)
    assert laid_out["train_loss_first"] == pytest.approx(padded["train_loss_first"], rel=1e-5)
    assert laid_out["train_loss_last"] == pytest.approx(padded["train_loss_last"], rel=1e-4)
    torch.testing.assert_close(
        weights(tmp_path / "packed"), weights(tmp_path / "padded"), rtol=1e-3, atol=1e-3
    )


@pytest.mark.parametrize(
    "option", [(), ("--answer-ratio", "0.5", "--ratio", "0.2"), ("--gradient", "restart")], ids=str
)
def test_packed_rows_take_tokenseek_steps(
    option: tuple[str, ...],
    model: Path,
    records: Path,
    output: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = ("--packing", "--batch-size", "2", "--steps", "9", "--eval-data", str(records))
    assert finetune(model, records, output, *options, *option, "--json") == 0
    result = told(capsys)
    assert result["tokens"] > 9 * 2 * 20, "a row holds several examples"
    assert result["eval_loss_after"] < result["eval_loss_before"]
    assert result["kept_share"] < 1


def test_the_ratio_that_fits_is_told_and_taken_and_goes_on_when_resumed(
    model: Path, records: Path, output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--ratio", "auto", "--device-memory", "1GiB", "--steps", "2", "--save-steps", "1")
    assert finetune(model, records, output, *options) == 0
    assert "of the tokens: the most that fits 1GiB by the forecast" in capsys.readouterr().err
    record = json.loads((output / "finetune.json").read_text())
    assert (record["options"]["ratio"], record["ratio"]) == ("auto", 0.5)
    (output / "finetune.json").write_text(json.dumps(record | {"ratio": 0.3}))
    (output / "checkpoint-2" / "trainer_state.json").unlink()
    assert finetune(model, records, output, *options, "--resume") == 0
    assert "the forecast" not in capsys.readouterr().err
    assert json.loads((output / "finetune.json").read_text())["ratio"] == 0.3


OTHER_TEMPLATE = (
    "{% for turn in messages %}"
    "{{ 'one ' if turn.role == 'user' else 'two ' }}{{ turn.content }} "
    "{% endfor %}{% if add_generation_prompt %}two {% endif %}"
)


@pytest.mark.parametrize("given", ["text", "file"])
def test_another_chat_template_is_learnt_by_and_saved(
    given: str,
    model: Path,
    records: Path,
    output: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[Example] = []

    def encoded(*args: Any, **options: Any) -> list[Example]:
        seen.extend(encode_records(*args, **options))
        return seen

    monkeypatch.setattr("tokenseek_core.training._finetune.encode_records", encoded)
    file = tmp_path / "template.jinja"
    file.write_text(OTHER_TEMPLATE)
    option = ("--chat-template", OTHER_TEMPLATE if given == "text" else str(file))
    assert finetune(model, records, output, "--steps", "1", "--quiet", *option) == 0
    saved = AutoTokenizer.from_pretrained(output)
    assert saved.chat_template == OTHER_TEMPLATE
    # This template has no token that ends an answer.
    assert saved.decode(seen[0].input_ids) == "one say red two red red red <end>"
    assert seen[0].labels[-1] == saved.eos_token_id


def test_losses_are_drawn_where_they_are_asked_for(
    model: Path, records: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []

    class Drawing(TrainerCallback):
        def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            told.extend(kwargs["logs"])

    monkeypatch.setitem(INTEGRATION_TO_CALLBACK, "tensorboard", Drawing)
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: name == "tensorboard" or find(name)
    )
    options = ("--steps", "1", "--quiet", "--report-to", "tensorboard")
    assert finetune(model, records, output, *options) == 0
    assert {"loss", "supervised_share"} <= set(told)


def test_a_model_with_an_added_padding_token_reopens_after_it(
    records: Path, output: Path, tmp_path: Path
) -> None:
    folder = save_llama(tmp_path / "padded")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"pad_token": "<filling>"})
    resized = AutoModelForCausalLM.from_pretrained(folder)
    resized.resize_token_embeddings(len(tokenizer))
    resized.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    assert finetune(folder, records, output, "--steps", "1", "--quiet") == 0
    reopened = AutoModelForCausalLM.from_pretrained(output)
    padding = AutoTokenizer.from_pretrained(output).pad_token_id
    assert padding == reopened.config.pad_token_id == 14
    assert reopened.get_input_embeddings().num_embeddings == 15


def test_a_model_of_few_positions_takes_as_many_where_no_length_is_asked_for(
    model: Path, records: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    long = tmp_path / "long.jsonl"
    long.write_text(json.dumps({"prompt": "say red", "response": " ".join(["red"] * 99)}) + "\n")
    command = ["finetune", "--model", str(model), "--data", str(long), "--steps", "1"]
    assert main([*command, "--output", str(tmp_path / "run")]) == 0
    assert "of 1 records, 1 were cut at max_length (64)" in capsys.readouterr().err


def test_a_ratio_of_one_trains_densely(
    model: Path, records: Path, output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--ratio", "1", "--max-steps", "2", "--lr", "1e-3", "--json")  # other names
    assert finetune(model, records, output, *options) == 0
    captured = capsys.readouterr()
    assert "training densely: with 100% of the tokens kept, two passes save nothing" in captured.err
    assert json.loads(captured.out)["kept_share"] == 1


def test_accumulated_batches_train_as_one_larger_batch_does(
    model: Path, records: Path, tmp_path: Path
) -> None:
    common = ("--steps", "3", "--quiet")
    assert finetune(model, records, tmp_path / "whole", *common, "--batch-size", "4") == 0
    halves = ("--batch-size", "2", "--accumulate", "2")
    assert finetune(model, records, tmp_path / "halves", *common, *halves) == 0
    torch.testing.assert_close(
        weights(tmp_path / "halves"), weights(tmp_path / "whole"), rtol=1e-3, atol=1e-5
    )


@pytest.mark.parametrize(
    "options",
    [
        ("--gradient-checkpointing",),
        ("--gradient-checkpointing", "--lora"),
        ("--bf16",),
        ("--dtype", "bfloat16"),
        ("--selector", "random"),
        ("--alpha", "0"),
        ("--kv-offload",),
    ],
    ids=" ".join,
)
def test_every_option_trains(
    options: tuple[str, ...], model: Path, records: Path, output: Path
) -> None:
    assert finetune(model, records, output, "--steps", "2", "--quiet", *options) == 0
    assert weights(output)


def test_recomputed_activations_train_as_kept_ones_do(
    model: Path, records: Path, tmp_path: Path
) -> None:
    common = ("--steps", "3", "--quiet")
    assert finetune(model, records, tmp_path / "kept", *common) == 0
    assert finetune(model, records, tmp_path / "again", *common, "--gradient-checkpointing") == 0
    torch.testing.assert_close(weights(tmp_path / "again"), weights(tmp_path / "kept"))


def test_the_folder_says_how_it_came_about(
    model: Path, records: Path, output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert finetune(model, records, output, "--steps", "2", "--json") == 0
    record = json.loads((output / "finetune.json").read_text())
    assert record["result"] == told(capsys)
    assert record["options"]["ratio"] == 0.4
    assert record["options"]["learning_rate"] == 1e-2
    assert "torch" in record["versions"]
    state = json.loads((output / "checkpoint-2" / "trainer_state.json").read_text())
    assert any("supervised_share" in logged for logged in state["log_history"])


def test_without_an_output_the_folder_is_a_numbered_one(
    model: Path, records: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    command = ["finetune", "--model", str(model), "--data", str(records), "--max-length", "32"]
    assert main([*command, "--steps", "1", "--quiet"]) == 0
    assert (tmp_path / "tokenseek-finetune-001" / "model.safetensors").exists()


def test_records_that_are_cut_are_told(
    model: Path, records: Path, output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert finetune(model, records, output, "--steps", "1", "--max-length", "8") == 0
    captured = capsys.readouterr()
    assert "of 24 records, 24 were cut at max_length (8)" in captured.err
    assert "training 1/1" in captured.err
    assert "train loss first" in captured.out
    assert "it/s" not in captured.err, "no bars but ours"
    assert "{'loss'" not in captured.out, "no remarks but ours"


def test_nothing_but_errors_is_printed_when_quiet(
    model: Path, records: Path, output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert finetune(model, records, output, "--steps", "1", "--quiet") == 0
    assert capsys.readouterr() == ("", "")
