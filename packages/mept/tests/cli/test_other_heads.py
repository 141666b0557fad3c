"""Heads that label each word, tell a number or mark an answer: trained, scored and asked."""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import (
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
)

from mept.cli import main
from mept.training import RegressionForm, SpanForm, WordForm
from saved import FILLERS, GLAD, SAD, save_rows, save_tiny, tiny_tokenizer
from tokenseek_common import InputError
from tokenseek_common.data import (
    TaskSample,
    answer_span_task,
    numbered_text_task,
    tagged_words_task,
)

TAGS = ("O", "B-GLAD", "B-SAD")
NAMES = tagged_words_task("names", TAGS)
SPANS = answer_span_task("spans")
LENGTH = 12
"""Tokens of a row: most texts are longer."""


def tagged_rows(count: int, seed: int = 0) -> list[dict[str, Any]]:
    draw = random.Random(seed)
    kinds = (
        dict.fromkeys(FILLERS, "O") | dict.fromkeys(GLAD, "B-GLAD") | dict.fromkeys(SAD, "B-SAD")
    )
    texts = [draw.choices(list(kinds), k=draw.randint(2, 30)) for _ in range(count)]
    return [{"text": words, "label": [kinds[word] for word in words]} for words in texts]


def numbered_rows(count: int, seed: int = 0) -> list[dict[str, Any]]:
    draw = random.Random(seed)
    texts = [draw.choices([*GLAD, *SAD], k=6) for _ in range(count)]
    numbers = [sum(word in GLAD for word in words) / 2 for words in texts]
    return [
        {"text": " ".join(words), "label": number}
        for words, number in zip(texts, numbers, strict=True)
    ]


def span_rows(count: int, seed: int = 0) -> list[dict[str, Any]]:
    draw = random.Random(seed)
    rows = []
    for _ in range(count):
        words = draw.choices(FILLERS, k=draw.randint(3, 20))
        name = draw.choice(["Ann", "Bob", "Cy"])
        words.insert(draw.randrange(len(words)), name)
        text = " ".join(words)
        answers = {"text": [name], "answer_start": [text.index(name)]}
        rows.append({"question": "question", "context": text, "answers": answers})
    return rows


ROWS = {
    "token-classification": tagged_rows,
    "regression": numbered_rows,
    "question-answering": span_rows,
}
OPTIONS = {"token-classification": ("--labels", *TAGS)}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run of each form, beside the model and the rows that it learnt."""
    folder = tmp_path_factory.mktemp("heads")
    model = save_tiny(folder / "model", "bert")
    for form, rows in ROWS.items():
        file = save_rows(folder / f"{form}.jsonl", rows(160))
        command = ["train", "--model", str(model), "--form", form, "--task", f"own={file}"]
        command += [*OPTIONS.get(form, ()), "--steps", "80", "--max-length", str(LENGTH)]
        command += ["--num-virtual-tokens", "3", "--evaluate-every", "40", "--quiet"]
        assert main([*command, "--device", "cpu", "-o", str(folder / form)]) == 0
    return {form: folder / form for form in ROWS}


def told(capsys: pytest.CaptureFixture[str], *command: str | Path) -> dict[str, Any]:
    capsys.readouterr()
    assert main([*map(str, command), "--device", "cpu", "--json"]) == 0
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


def opened(run: Path, auto: Any, **head: Any) -> tuple[Any, Any]:
    """A model and its tokenizer as a user of PEFT opens them."""
    base = auto.from_pretrained(run.parent / "model", **head)
    model = PeftModel.from_pretrained(base, run / "adapter").eval()
    return model, AutoTokenizer.from_pretrained(run / "adapter")


@pytest.mark.parametrize(
    ("form", "metrics", "least"),
    [
        ("token-classification", ["accuracy", "entity_f1", "score"], 0.9),
        ("regression", ["pearson", "spearman", "mse", "score"], 0.8),
        ("question-answering", ["f1", "exact_match", "score"], 0.5),
    ],
)
def test_a_head_learns_its_task_and_scores_the_same_when_it_is_reopened(
    form: str,
    metrics: list[str],
    least: float,
    trained: dict[str, Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    result = json.loads((trained[form] / "result.json").read_text())
    found = result["test"]["chosen"]["own"]
    assert list(found) == metrics
    assert found["score"] >= least
    certainty = "closeness" if form == "regression" else "likelihood"
    assert all(0 <= at[certainty] <= 1 for at in result["dev_curve"])
    assert told(capsys, "eval", trained[form])["chosen"]["own"] == found
    card = (trained[form] / "adapter/README.md").read_text()
    tag = "text-classification" if form == "regression" else form
    assert f"pipeline_tag: {tag}\n" in card


def test_each_word_of_a_long_text_gets_the_label_that_its_piece_gives_it(
    trained: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = trained["token-classification"]
    rows = tagged_rows(5, seed=9)
    answers = told(capsys, "predict", run, save_rows(tmp_path / "new.jsonl", rows))["answers"]
    model, tokenizer = opened(run, AutoModelForTokenClassification, num_labels=len(TAGS))
    for row, answer in zip(rows, answers, strict=True):
        expected, room = [], LENGTH - 2
        for start in range(0, len(row["text"]), room):  # the tokenizer has a token a word
            piece = tokenizer(" ".join(row["text"][start : start + room]), return_tensors="pt")
            with torch.no_grad():
                logits = model(**piece).logits[0, 1:-1]
            expected += [TAGS[place] for place in logits.argmax(-1)]
        assert answer["prediction"] == expected
        assert len(answer["scores"]) == len(row["text"])
    out = tmp_path / "out.csv"
    assert main(["predict", str(run), str(tmp_path / "new.jsonl"), "-o", str(out), "--quiet"]) == 0
    with out.open(newline="") as table:
        line = next(csv.DictReader(table))
    assert line["text"] == " ".join(rows[0]["text"])
    assert line["prediction"] == " ".join(answers[0]["prediction"])


def test_a_number_is_what_the_opened_adapter_gives(
    trained: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = trained["regression"]
    new = tmp_path / "new.txt"
    new.write_text("sun song mud\nrain\n")
    answers = told(capsys, "predict", run, new)["answers"]
    model, tokenizer = opened(run, AutoModelForSequenceClassification, num_labels=1)
    for answer in answers:
        with torch.no_grad():
            number = float(model(**tokenizer(answer["text"], return_tensors="pt")).logits)
        assert answer["prediction"] == pytest.approx(number, abs=1e-5)
    assert main(["predict", str(run), str(new), "--device", "cpu"]) == 0
    assert capsys.readouterr().out == "".join(
        f"{answer['prediction']:.4g}: {answer['text']}\n" for answer in answers
    )


def test_a_span_is_the_likeliest_of_all_pieces_of_its_context(
    trained: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = trained["question-answering"]
    rows = span_rows(6, seed=9)
    answers = told(capsys, "predict", run, save_rows(tmp_path / "new.jsonl", rows))["answers"]
    model, tokenizer = opened(run, AutoModelForQuestionAnswering, num_labels=2)
    room = LENGTH - 4  # beside the question and the special tokens
    for row, answer in zip(rows, answers, strict=True):
        words, best = row["context"].split(), (-float("inf"), "")
        for start in range(0, max(1, len(words) - room // 2), room - room // 2):
            part = words[start : start + room]
            with torch.no_grad():
                found = model(**tokenizer("question", " ".join(part), return_tensors="pt"))
            for i in range(len(part)):
                for j in range(i, len(part)):
                    logit = float(found.start_logits[0, 3 + i] + found.end_logits[0, 3 + j])
                    best = max(best, (logit, " ".join(part[i : j + 1])))
        assert answer["prediction"] == best[1]
        assert row["context"].startswith(answer["prediction"], answer["start"])
        assert 0 < answer["score"] <= 1


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            ("--form", "regression", "--task", "own={file}", "--labels", "a", "b"),
            "labels (a, b) must be left out in form regression; leave out --labels, or choose "
            "another --form",
        ),
        (
            ("--form", "regression", "--task", "a={file}", "b={file}"),
            "task (a, b) must be a single one in form regression; train an adapter for each",
        ),
        (
            ("--form", "regression"),
            "task (docstrings) must have a number for an answer in form regression; give a task "
            "of your own as NAME=FILE, or train in another --form",
        ),
        (
            ("--form", "token-classification", "--task", "own={file}"),
            "task (own) must be one of docstrings, boolq, cb, copa, multirc, record, rte, wic, "
            "wsc, sst2, sst5, trec; choose one of them, or describe your own by --labels",
        ),
        (
            (
                *("--form", "token-classification", "--task", "own={file}"),
                *("--labels", "a", "b", "--text-fields", "x", "y"),
            ),
            "text_fields (x, y) must be one in form token-classification; name the field of the "
            "words",
        ),
        (
            ("--form", "question-answering", "--task", "own={file}", "--max-length", "4"),
            "max_length (4) must hold the question of a own sample and two tokens of its context "
            "(6 tokens); raise it, or remove rows with an empty context",
        ),
    ],
)
def test_what_a_head_cannot_do_is_refused(
    options: tuple[str, ...],
    expected: str,
    trained: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    heads = trained["regression"].parent
    kind = "question-answering" if "question-answering" in options else "regression"
    named = [option.format(file=heads / f"{kind}.jsonl") for option in options]
    command = ["train", "--model", str(heads / "model"), *named, "--quiet", "--device", "cpu"]
    capsys.readouterr()
    assert main([*command, "-o", str(tmp_path / "run")]) == 2
    assert capsys.readouterr().err == f"error: {expected}\n"
    assert not (tmp_path / "run").exists()


def test_a_head_is_asked_what_it_was_trained_for_and_no_other(
    trained: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(form: str, *options: str) -> str:
        capsys.readouterr()
        assert main(["eval", str(trained[form]), "--device", "cpu", "--quiet", *options]) == 2
        return capsys.readouterr().err.removeprefix("error: ")

    file = trained["regression"].with_name("token-classification.jsonl")
    other = ("--task", f"other={file}", "--labels", "O", "B-GLAD")
    assert refused("token-classification", *other) == (
        "task (other: O, B-GLAD) must have labels that the head was trained on (own: O, B-GLAD, "
        "B-SAD); choose a task with them, or train on this one\n"
    )
    assert refused("regression", "--task", f"sst2={file}") == (
        "task (sst2) must have a number for an answer in form regression; give a task of your "
        "own as NAME=FILE, or train in another --form\n"
    )


def test_the_routing_of_any_head_is_shown_by_its_task(
    trained: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for form in ROWS:
        out = tmp_path / form
        found = told(capsys, "inspect", trained[form], "--no-pictures", "-o", out)
        assert (found["grouped_by"], found["form"]) == ("task", form)


def test_decoders_tell_numbers_and_do_not_label_words(
    trained: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    heads = trained["regression"].parent
    model = str(save_tiny(tmp_path / "llama", "llama"))
    command = ["train", "--model", model, "--device", "cpu", "--quiet", "--steps", "2", "--form"]
    numbers = ["regression", "--task", f"own={heads / 'regression.jsonl'}", "--dtype", "bfloat16"]
    assert main([*command, *numbers, "-o", str(tmp_path / "run")]) == 0
    words = ["token-classification", "--task", f"own={heads / 'token-classification.jsonl'}"]
    capsys.readouterr()
    assert main([*command, *words, "--labels", *TAGS]) == 2
    assert capsys.readouterr().err == (
        "error: form (token-classification) must be text-to-text or classification or regression "
        "for a model of type llama; choose another --form, or leave it out\n"
    )


def test_words_of_several_tokens_are_learnt_and_judged_by_their_first() -> None:
    class Letters:
        """A token a letter, as a tokenizer of subwords may have it for a rare word."""

        pad_token_id, padding_side, model_input_names = 0, "right", ("input_ids",)

        def __call__(self, text: str, **settings: Any) -> dict[str, list[Any]]:
            spans = [(i, i + 1) for i, letter in enumerate(text) if letter not in " -"]
            ids = [ord(text[start]) for start, _ in spans]
            return {"input_ids": [1, *ids, 2], "offset_mapping": [(0, 0), *spans, (0, 0)]}

    form = WordForm(Letters(), max_length=6)  # type: ignore[arg-type]
    sample = TaskSample(NAMES, {"text": "ab c - def"}, TAGS, ("B-SAD", "O", "B-SAD", "B-GLAD"))
    assert [row["labels"] for row in form.choice_rows(sample)] == [
        [-100, 0, -100, 1, -100],
        [-100, 3, -100, -100, -100],
    ]
    assert [row["labels"] for row in form.train_rows(sample)] == [
        [-100, 2, -100, 0, -100],
        [-100, 1, -100, -100, -100],
    ]
    rows = form.choice_rows(sample)
    scores = [torch.tensor([[0.0, 1.0, 0.0]]).expand(5, 3) for _ in rows]
    answer = form.answer(sample, rows, scores)
    assert answer.tags == ["B-GLAD", "B-GLAD", "O", "B-GLAD"], "nothing is made of the third"
    with pytest.raises(InputError, match=r"max_length \(6\) must hold each word"):
        form.choice_rows(TaskSample(NAMES, {"text": "abcdefg"}, TAGS))


def test_words_without_entities_are_scored_by_accuracy() -> None:
    form = WordForm(tiny_tokenizer("bert"), max_length=8)
    task = tagged_words_task("pos", ["N", "V"])
    sample = TaskSample(task, {"text": "sun song"}, task.labels, ("N", "V"))
    rows = form.choice_rows(sample)
    answer = form.answer(sample, rows, [torch.tensor([[2.0, 0.0]]).expand(4, 2)])
    found = form.metrics([sample], [answer])["pos"]
    assert found == {"accuracy": 0.5, "macro_f1": pytest.approx(1 / 3), "score": 0.5}
    assert form.certainty([sample], [answer]) == pytest.approx(0.5)


def test_a_piece_without_the_answer_points_at_its_first_token() -> None:
    form = SpanForm(tiny_tokenizer("bert"), max_length=8)
    text = "the old day and Ann met a song"
    answers = {"answers": ("Ann met",), "starts": (text.index("Ann"),)}
    sample = TaskSample(SPANS, {"question": "question", "context": text}, (), **answers)  # type: ignore[arg-type]
    marks = [(row["start_positions"], row["end_positions"]) for row in form.train_rows(sample)]
    # Four words a piece, two of them those of the piece before.
    assert marks == [(0, 0), (0, 0), (3, 4)] or marks == [(0, 0), (5, 6), (3, 4)]


def test_numbers_are_scored_by_correlations_and_squared_error() -> None:
    form = RegressionForm(tiny_tokenizer("bert"), max_length=8, prefixed=False)
    task = numbered_text_task("stars")
    samples = [TaskSample(task, {"text": "sun"}, (), (str(n),)) for n in (1.0, 2.0, 3.0)]
    found = form.metrics(samples, [1.0, 2.0, 5.0])["stars"]
    assert found["mse"] == pytest.approx(4 / 3)
    assert found["spearman"] == 1
    assert found["score"] == pytest.approx((1 + found["pearson"]) / 2)
    assert form.certainty(samples, [1.0, 2.0, 5.0]) == pytest.approx(3 / 7)
