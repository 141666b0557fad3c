from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
import torch
from transformers import GPTJConfig, GPTJForCausalLM, MambaConfig, MambaForCausalLM

from saved_llama import save_llama, save_records, tiny_tokenizer
from tokenseek_core import _check
from tokenseek_core.cli import main


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_llama(tmp_path_factory.mktemp("model"))


@pytest.fixture
def records(tmp_path: Path) -> Path:
    return save_records(tmp_path / "train.jsonl")


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "run"


def refused(
    capsys: pytest.CaptureFixture[str], model: Path, records: Path, output: Path, *options: str
) -> str:
    """The one sentence that a run which cannot begin prints."""
    command = [
        *("finetune", "--model", str(model), "--data", str(records), "--output", str(output)),
        *("--max-length", "32", "--device", "cpu", "--quiet", *options),
    ]
    capsys.readouterr()  # saving a model has a bar
    there_before = sorted(output.rglob("*")) if output.exists() else None
    assert main(command) == 2
    assert (sorted(output.rglob("*")) if output.exists() else None) == there_before
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    return err.removeprefix("error: ").rstrip("\n")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--ratio", "0"), "ratio (0.0) must be in (0, 1]; 0.1 keeps one token in ten"),
        (
            ("--answer-ratio", "2"),
            "answer_ratio (2.0) must be in (0, 1] or None; "
            "1 keeps every token that carries the loss",
        ),
        (("--ratio", "1.5"), "ratio (1.5) must be in (0, 1]; 0.1 keeps one token in ten"),
        (
            ("--alpha", "0", "--beta", "0"),
            "alpha, beta (0.0, 0.0) must be at least 0 and not both 0; "
            "only their quotient changes which tokens are kept",
        ),
        (
            ("--learning-rate", "0"),
            "learning_rate (0) must be above 0 and finite; choose another --learning-rate",
        ),
        (("--weight-decay", "-1"), "weight_decay (-1.0) must be at least 0; 0.01 is usual"),
        (
            ("--lora", "--adapter-dropout", "1"),
            "adapter_dropout (1.0) must be from 0 to below 1; 0.05 is usual",
        ),
        (
            ("--merge",),
            "merge (True) must go with an adapter over whole weights (none); choose --adapter "
            "lora, dora or loha, or leave it out",
        ),
        (("--epochs", "nan"), "epochs (nan) must be above 0 and finite; choose another --epochs"),
        (("--steps", "0"), "steps (0) must be at least 1; choose another --steps"),
        (("--batch-size", "0"), "batch_size (0) must be at least 1; choose another --batch-size"),
        (("--accumulate", "0"), "accumulate (0) must be at least 1; choose another --accumulate"),
        (("--max-length", "1"), "max_length (1) must be at least 2; choose another --max-length"),
        (("--save-steps", "0"), "save_steps (0) must be at least 1; choose another --save-steps"),
        (
            ("--dtype", "float16"),
            "dtype (float16) must be one whose gradients do not vanish; "
            "choose --dtype float32, with --bf16 where there is bfloat16",
        ),
        (
            ("--max-length", "65"),
            "max_length (65) must be at most 64, the positions of {model}; "
            "choose another --max-length",
        ),
        (
            ("--data", "/nowhere/train.jsonl"),
            "source (/nowhere/train.jsonl) must be an existing file; check the path",
        ),
        (
            ("--eval-data", "/nowhere/test.jsonl"),
            "source (/nowhere/test.jsonl) must be an existing file; check the path",
        ),
        (
            ("--model", "/nowhere/model"),
            "model (/nowhere/model) must be a folder with a config.json; "
            "give such a folder, a hub id or smollm2",
        ),
    ],
)
def test_an_option_out_of_range_is_refused(
    options: tuple[str, ...],
    expected: str,
    model: Path,
    records: Path,
    output: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert refused(capsys, model, records, output, *options) == expected.format(model=model)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", "source ({file}) must hold at least one record; it is empty"),
        (
            '{"text": "say red"}\n{"text": red}\n',
            "{file}, line 2 must be valid JSON (Expecting value at column 10); "
            "mend or remove that line",
        ),
        (
            '{"text": "say red"}\n{"ask": "say red", "reply": "red"}\n',
            "{file}, line 2: fields (ask, reply) must fit {layouts}; rename the fields",
        ),
    ],
    ids=["empty", "malformed", "unknown fields"],
)
def test_data_that_cannot_be_read_is_refused(
    content: str,
    expected: str,
    model: Path,
    records: Path,
    output: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    layouts = (
        "{messages}, {conversations}, {instruction, input, output}, {prompt, response}, "
        "{prompt, completion}, {question, answer}, {prompt, chosen}, {chosen, rejected} or {text}"
    )
    records.write_text(content)
    told = refused(capsys, model, records, output)
    assert told == expected.format(file=records, layouts=layouts)


def test_tokens_that_the_model_has_no_embedding_for_are_refused(
    tmp_path: Path, output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = save_llama(tmp_path / "model")
    wider = tiny_tokenizer()
    wider.add_tokens(["<|call|>"])
    wider.save_pretrained(model)
    records = tmp_path / "calls.jsonl"
    records.write_text('{"prompt": "say red", "response": "red <|call|> blue"}\n')
    assert refused(capsys, model, records, output) == (
        "tokenizer (a token of the records is <|call|>, 14) must give tokens below 14, as many as "
        "the model's embedding has rows; take the model's own tokenizer, or call "
        "model.resize_token_embeddings(len(tokenizer)) and save both"
    )


def test_a_padding_token_that_the_model_has_no_embedding_for_is_refused(
    records: Path, tmp_path: Path, output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = save_llama(tmp_path / "model")
    padded = tiny_tokenizer()
    padded.add_special_tokens({"pad_token": "<filling>"})
    padded.save_pretrained(model)
    assert refused(capsys, model, records, output) == (
        "tokenizer (its padding token is <filling>, 14) must give tokens below 14, as many as the "
        "model's embedding has rows; take the model's own tokenizer, or call "
        "model.resize_token_embeddings(len(tokenizer)) and save both"
    )


def test_weights_that_do_not_fit_their_config_are_refused(
    records: Path, tmp_path: Path, output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = save_llama(tmp_path / "model")
    config = model / "config.json"
    config.write_text(config.read_text().replace('"vocab_size": 14', '"vocab_size": 20'))
    assert refused(capsys, model, records, output) == (
        f"model ({model}) must be a causal language model that transformers can load (its weights "
        "have other shapes than its config.json); give a folder, a hub id or smollm2"
    )


def test_a_folder_that_holds_something_is_refused_and_left_alone(
    model: Path, records: Path, output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output.mkdir()
    (output / "thesis.txt").write_text("unfinished")
    assert refused(capsys, model, records, output) == (
        f"output ({output}) must be an empty or new folder; choose another --output"
    )
    assert (output / "thesis.txt").read_text() == "unfinished"


def save_gptj(folder: Path) -> Path:
    config = GPTJConfig(
        vocab_size=14, n_positions=64, n_embd=32, n_layer=2, n_head=2, rotary_dim=8,
        bos_token_id=None, eos_token_id=4,
    )  # fmt: skip
    GPTJForCausalLM(config).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def test_a_model_without_the_attention_interface_is_refused_but_trains_densely(
    tmp_path: Path, records: Path, output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gptj = save_gptj(tmp_path / "gptj")
    capsys.readouterr()  # transformers draws a bar while it saves
    assert refused(capsys, gptj, records, output) == (
        "model (GPTJForCausalLM) must dispatch through transformers' attention interface; "
        "train it without TokenSeek"
    )
    command = ["finetune", "--model", str(gptj), "--data", str(records), "--output", str(output)]
    dense = ["--ratio", "1", "--steps", "1", "--max-length", "32", "--quiet"]
    assert main(command + dense) == 0


def test_a_model_that_the_first_step_refuses_has_written_nothing(
    model: Path,
    records: Path,
    output: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(_check, "TOLERANCE", dict.fromkeys(_check.TOLERANCE, -1.0))
    assert "must mix tokens in attention only" in refused(capsys, model, records, output)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            ("--chat-template", "{{ messages", "--template", "plain"),
            "template (plain) must be auto or chat with --chat-template; leave one of them out",
        ),
        (
            ("--chat-template", "{% for turn in messages %}"),
            "chat_template (line 1: Unexpected end of template.",
        ),
        (
            ("--chat-template", "/nowhere/chat.jinja"),
            "chat_template (/nowhere/chat.jinja) must be a file that can be read, or a template "
            "with {{ and }}; check the path",
        ),
        (
            ("--ratio", "auto"),
            "ratio, device_memory (auto, None) must be auto and a number of bytes, or a number and "
            "left out; write --ratio auto --device-memory 24GiB, or leave out --device-memory",
        ),
        (
            ("--ratio", "0.2", "--device-memory", "24GiB"),
            "ratio, device_memory (0.2, 24GiB) must be auto and a number of bytes, or a number and",
        ),
        (
            ("--ratio", "auto", "--device-memory", "24"),
            "device_memory (24) must be a number of bytes with its unit",
        ),
        (
            ("--ratio", "auto", "--device-memory", "9kB"),
            "device_memory (9kB) must hold a step, and one that keeps the least takes ",
        ),
        (
            ("--report-to", "trackio"),
            "report_to (trackio) must have its package; pip install trackio",
        ),
        (
            ("--lora", "--adapter", "loha"),
            "adapter (loha) must not go with --lora, which is --adapter lora; leave one of them "
            "out",
        ),
        (
            ("--lora", "--adapter-rank", "0"),
            "adapter_rank (0) must be at least 1; choose another --adapter-rank",
        ),
        (
            ("--adapter", "dora", "--adapter-targets", "qkv"),
            "adapter (dora) must fit layers of the model (Target modules {'qkv'} not found in "
            "the base model",
        ),
    ],
)
def test_what_cannot_be_done_is_refused(
    options: tuple[str, ...],
    expected: str,
    model: Path,
    records: Path,
    output: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert refused(capsys, model, records, output, *options).startswith(expected)


def test_a_model_that_mixes_the_examples_of_a_row_is_not_packed_for(
    records: Path, output: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mamba = tmp_path / "mamba"
    MambaForCausalLM(
        MambaConfig(vocab_size=14, hidden_size=16, num_hidden_layers=1, state_size=4)
    ).save_pretrained(mamba)
    tiny_tokenizer().save_pretrained(mamba)
    capsys.readouterr()  # transformers draws a bar while it saves
    told = refused(capsys, mamba, records, output, "--ratio", "1", "--packing")
    assert told.startswith("packing (True) must ")
    assert told.endswith("; leave it out")


def test_a_file_that_holds_no_template_is_refused(
    model: Path, records: Path, output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refused(capsys, model, records, output, "--chat-template", str(records)) == (
        f"chat_template ({records}) must hold a template with {{{{ and }}}}, and has none; "
        "choose another file"
    )


def test_four_bits_without_bitsandbytes_say_what_to_install(
    model: Path,
    records: Path,
    output: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "bitsandbytes" else find(name)
    )
    assert refused(capsys, model, records, output, "--adapter", "qlora") == (
        'adapter (qlora) must have bitsandbytes; pip install "tokenseek-core[qlora]"'
    )


def test_lora_without_peft_says_what_to_install(
    model: Path,
    records: Path,
    output: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "peft" else find(name)
    )
    assert refused(capsys, model, records, output, "--lora") == (
        'adapter (lora) must have peft; pip install "tokenseek-core[peft]"'
    )


@pytest.mark.parametrize(
    ("device", "option", "expected"),
    [
        (
            "cuda:1",
            (),
            "device (cuda:1) must be the first of its kind; choose --device cuda "
            "and set CUDA_VISIBLE_DEVICES=1",
        ),
        (
            "cuda:0",
            ("--bf16",),
            "bf16 (True) must be something that the device has; leave it out",
        ),
    ],
)
def test_a_device_that_would_not_do_is_refused(
    device: str,
    option: tuple[str, ...],
    expected: str,
    model: Path,
    records: Path,
    output: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    resolved = torch.device(device)
    monkeypatch.setattr("tokenseek_common.cli._device.resolve_device", lambda name: resolved)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)
    assert refused(capsys, model, records, output, *option) == expected


# Resuming what cannot be resumed


def test_resuming_where_there_is_no_run_is_refused(
    model: Path, records: Path, output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refused(capsys, model, records, output, "--resume") == (
        f"output ({output}) must be the folder of the run that is resumed; "
        "check --output, or leave out --resume"
    )
    output.mkdir()
    (output / "checkpoint-final").mkdir()
    assert refused(capsys, model, records, output, "--resume") == (
        f"output ({output}) must hold a whole checkpoint to resume from, and has none; "
        "start anew in another --output, without --resume"
    )
    assert main(["finetune", "--model", str(model), "--data", str(records), "--resume"]) == 2
    assert capsys.readouterr().err == (
        "error: output (None) must be given with --resume; name the folder of the run\n"
    )


@pytest.fixture
def finished(model: Path, records: Path, output: Path) -> Path:
    """A run of two steps with a checkpoint after the first."""
    options = ["--max-length", "32", "--steps", "2", "--save-steps", "1", "--quiet"]
    command = ["finetune", "--model", str(model), "--data", str(records), "--output", str(output)]
    assert main(command + options) == 0
    return output


AGAIN = ("--resume", "--steps", "2", "--save-steps", "1")


def test_resuming_a_finished_run_is_refused(
    model: Path, records: Path, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refused(capsys, model, records, finished, *AGAIN) == (
        f"output ({finished}) must hold an unfinished run, and this one is at its last step; "
        f"its model is in {finished}/checkpoint-2"
    )


def interrupt(run: Path) -> Path:
    """Make a finished run one that was interrupted while it saved its last checkpoint."""
    (run / "checkpoint-2" / "trainer_state.json").unlink()
    return run


def test_resuming_with_other_options_is_refused(
    model: Path, records: Path, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    others = ("--learning-rate", "0.5", "--selector", "random")
    told = refused(capsys, model, records, interrupt(finished), *AGAIN, *others)
    assert told == (
        "selector (random), learning_rate (0.5) must be left out, 2e-05, as in the run that is "
        "resumed; repeat its options, or start anew in another --output"
    )


def test_resuming_on_other_records_is_refused(
    model: Path, records: Path, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_records(records, count=25)
    assert refused(capsys, model, records, interrupt(finished), *AGAIN) == (
        "data must hold the records of the run that is resumed; "
        "restore them, or start anew in another --output"
    )


@pytest.mark.parametrize("content", [None, "{", json.dumps({"options": {}})])
def test_resuming_a_run_without_its_record_is_refused(
    content: str | None,
    model: Path,
    records: Path,
    finished: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    record = interrupt(finished) / "finetune.json"
    record.unlink() if content is None else record.write_text(content)
    assert refused(capsys, model, records, finished, *AGAIN) == (
        f"output ({finished}) must hold the finetune.json of the run that is resumed; "
        "start anew in another --output, without --resume"
    )


@pytest.mark.parametrize("name", ["ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED"])
def test_a_launcher_that_shards_is_refused(
    name: str,
    model: Path,
    records: Path,
    output: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv(name, "true")
    assert refused(capsys, model, records, output) == (
        f"{name} (true) must be unset, each process holds the whole model; launch with "
        "--multi_gpu, or shard the model in a program of your own"
    )


def test_a_model_that_brings_code_is_refused_and_nobody_is_asked(
    records: Path, output: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = save_llama(tmp_path / "strange")
    config = json.loads((model / "config.json").read_text())
    config |= {"model_type": "strange", "auto_map": {"AutoConfig": "strange.Config"}}
    (model / "config.json").write_text(json.dumps(config))
    told = refused(capsys, model, records, output)
    assert told.startswith(
        f"model ({model}) must be a causal language model that transformers can load "
        f"(The repository {model} contains custom code which must be executed to correctly load "
        "the model."
    )
    assert told.endswith("); give a folder, a hub id or smollm2")
