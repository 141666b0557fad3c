from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from pyarrow import Table
from pyarrow.parquet import write_table

from data.superglue_rows import ARTICLE, HUB, OFFICIAL, PARAGRAPH
from tokenseek_common import InputError
from tokenseek_common.data import TASKS, Task, labelled_text_task, load_task

MOOD = labelled_text_task("mood", ["sad", "glad"])


def told(task: Task | str, source: str | Path, **options: Any) -> str:
    with pytest.raises(InputError) as error:
        load_task(task, source, **options)
    return str(error.value)


def written(folder: Path, name: str, *rows: object) -> Path:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, ...]]:
    """What `datasets.load_dataset` is asked for; it answers with the rows of that task."""
    calls: list[tuple[object, ...]] = []

    def load_dataset(
        name: str, config: str, *, split: str, streaming: bool
    ) -> Iterator[dict[str, object]]:
        calls.append((name, config, split, streaming))
        return iter([dict(row) for row in HUB[config]])

    datasets = ModuleType("datasets")
    datasets.load_dataset = load_dataset  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", datasets)
    return calls


@pytest.mark.parametrize("task", OFFICIAL)
def test_the_official_files_and_the_hub_give_the_same_samples(
    tmp_path: Path, hub: list[tuple[object, ...]], task: str
) -> None:
    path = written(tmp_path, "val.jsonl", OFFICIAL[task])
    from_hub = load_task(task, f"aps/super_glue:{task}", split="validation")
    assert load_task(task, path) == from_hub
    assert hub == [("aps/super_glue", task, "validation", False)]
    assert all(sample.task is TASKS[task] for sample in from_hub)


def test_a_limit_counts_samples_and_streams_the_hub(hub: list[tuple[object, ...]]) -> None:
    assert len(load_task("multirc", "aps/super_glue:multirc", limit=2)) == 2
    assert hub == [("aps/super_glue", "multirc", "train", True)]


@pytest.mark.parametrize(
    ("task", "label", "target"),
    [
        ("boolq", 1, "True"),
        ("cb", 2, "neutral"),
        ("copa", 0, "choice1"),
        ("rte", 1, "not_entailment"),
        ("wic", 0, "False"),
        ("wsc", 0, "False"),
    ],
)
def test_a_label_is_an_index_and_a_word(tmp_path: Path, task: str, label: int, target: str) -> None:
    (sample,) = load_task(task, written(tmp_path, "a.jsonl", OFFICIAL[task]))
    assert (sample.label, sample.target) == (label, target)
    assert sample.group == ""


def test_an_answer_of_multirc_knows_its_paragraph_and_question(tmp_path: Path) -> None:
    samples = load_task("multirc", written(tmp_path, "a.jsonl", OFFICIAL["multirc"]))
    assert [sample.group for sample in samples] == [PARAGRAPH] * 3
    assert [sample.question for sample in samples] == ["3", "3", "4"]
    assert [sample.label for sample in samples] == [1, 0, 1]
    assert samples[1].texts == {
        "question": "Who slept?",
        "answer": "The cat",
        "paragraph": PARAGRAPH,
    }


def test_questions_without_a_number_are_told_apart_by_their_text(tmp_path: Path) -> None:
    rows = [{**row, "idx": 9} for row in HUB["multirc"]]
    samples = load_task("multirc", written(tmp_path, "a.jsonl", *rows))
    assert [sample.question for sample in samples] == ["Who slept?", "Who slept?", "Who ate?"]


def test_a_query_of_record_is_one_sample_with_all_of_its_answers(tmp_path: Path) -> None:
    (sample,) = load_task("record", written(tmp_path, "a.jsonl", OFFICIAL["record"]))
    assert sample.choices == ("Ann Lee", "Bob", "Lee")  # once each
    assert sample.answers == ("Ann Lee", "Lee")
    assert (sample.label, sample.target) == (0, "Ann Lee")
    assert sample.group == ARTICLE
    assert sample.texts["passage"] == "Ann Lee met Bob. Bob is from Rome. He met Lee"


def test_wsc_marks_the_spans_where_they_stand(tmp_path: Path) -> None:
    row = {**OFFICIAL["wsc"], "text": "he saw Bob, since he looked."}
    (sample,) = load_task("wsc", written(tmp_path, "a.jsonl", row))
    assert sample.texts["text"] == "he saw *Bob*, since #he# looked."


@pytest.mark.parametrize("index", [3, 99, -1, None])
def test_wsc_marks_no_span_that_stands_elsewhere(tmp_path: Path, index: int | None) -> None:
    target = {"span1_text": "Bob", "span2_text": "he", "span1_index": index}
    row = {**OFFICIAL["wsc"], "target": target}
    (sample,) = load_task("wsc", written(tmp_path, "a.jsonl", row))
    assert sample.texts["text"] == "He saw Bob, since he looked."


@pytest.mark.parametrize("label", [None, -1, "-1"])
def test_the_label_of_a_test_set_is_unknown(tmp_path: Path, label: object) -> None:
    row = {**OFFICIAL["boolq"], "label": label}
    (sample,) = load_task("boolq", written(tmp_path, "a.jsonl", row))
    assert (sample.answers, sample.label, sample.target) == ((), None, None)


def test_a_query_without_answers_is_unanswered(tmp_path: Path) -> None:
    row = {name: value for name, value in HUB["record"][0].items() if name != "answers"}
    (sample,) = load_task("record", written(tmp_path, "a.jsonl", row))
    assert (sample.answers, sample.label, sample.target) == ((), None, None)


def test_an_answer_that_is_no_entity_is_learnt_and_has_no_label(tmp_path: Path) -> None:
    row = {**HUB["record"][0], "answers": ["Carl"]}
    (sample,) = load_task("record", written(tmp_path, "a.jsonl", row))
    assert (sample.target, sample.label) == ("Carl", None)


def test_a_folder_holds_a_file_a_split(tmp_path: Path) -> None:
    written(tmp_path / "BoolQ", "train.jsonl", OFFICIAL["boolq"])
    written(tmp_path / "BoolQ", "val.jsonl", *[OFFICIAL["boolq"]] * 2)
    written(tmp_path / "BoolQ", "extra.json", [OFFICIAL["boolq"]] * 3)
    for folder in (tmp_path, tmp_path / "BoolQ"):
        counts = [
            len(load_task("BoolQ", folder, split=split))
            for split in ("train", "validation", "val", "extra")
        ]
        assert counts == [1, 2, 2, 3]


def test_a_task_of_ones_own_has_a_folder_of_its_own(tmp_path: Path) -> None:
    written(tmp_path, "train.jsonl", {"text": "woe", "label": "sad"})
    assert load_task(MOOD, tmp_path)[0].label == 0


def test_tab_separated_values_stand_below_their_names(tmp_path: Path) -> None:
    path = tmp_path / "dev.tsv"
    text = 'index\tsentence1\tsentence2\tlabel\r\n0\tIt "rains.\tIt is dry.\tnot_entailment\n\n'
    path.write_text(text, encoding="utf-8")
    (sample,) = load_task("rte", path)
    assert sample.texts == {"premise": 'It "rains.', "hypothesis": "It is dry."}
    assert sample.label == 1


def test_lines_begin_with_their_label(tmp_path: Path) -> None:
    path = tmp_path / "mood.train"
    path.write_bytes(b"\xef\xbb\xbf1 oh  joy !\r\nSad w\xe9 weep\n\n0 woe\n")
    samples = load_task(MOOD, path)
    assert [sample.label for sample in samples] == [1, 0, 0]
    texts = [sample.texts["text"] for sample in samples]
    assert texts == ["oh  joy !", "w\N{REPLACEMENT CHARACTER} weep", "woe"]


def test_fields_may_be_chosen(tmp_path: Path) -> None:
    task = labelled_text_task(
        "same", ["no", "yes"], text_fields=["left", "right"], label_field="equal"
    )
    row = {"left": "a", "right": "b", "equal": "No", "label": "yes"}
    (sample,) = load_task(task, written(tmp_path, "a.jsonl", row))
    assert (dict(sample.texts), sample.label) == ({"left": "a", "right": "b"}, 0)


@pytest.mark.parametrize(
    ("labels", "label", "index"),
    [
        (["True", "False"], True, 0),
        (["True", "False"], False, 1),
        (["no", "yes"], True, 1),
        (["1", "2"], "1", 0),
        (["1", "0", "2"], "0", 1),
        (["1", "0", "2"], 2, 2),
        (["1", "2"], 2, 1),
        (["sad", "glad"], "1", 1),
    ],
)
def test_a_label_is_a_name_before_it_is_an_index(
    tmp_path: Path, labels: list[str], label: object, index: int
) -> None:
    task = labelled_text_task("own", labels)
    path = written(tmp_path, "a.jsonl", {"text": "x", "label": label})
    assert [sample.label for sample in load_task(task, path)] == [index]


def test_a_number_that_is_the_name_of_one_label_and_the_index_of_another_is_refused(
    tmp_path: Path,
) -> None:
    path = written(tmp_path, "a.jsonl", {"text": "x", "label": 1})
    assert told(labelled_text_task("own", ["1", "0", "2"]), path) == (
        f"{path}, line 1: label (1) must mean one label, and is the name of one and the index of "
        'another, 0; write the name as text, "1", or the labels in the order of their indices'
    )


@pytest.mark.parametrize("name", ["mood.csv", "mood.CSV.gz", "mood.tsv"])
def test_a_table_of_a_task_is_read_by_its_line_of_names(tmp_path: Path, name: str) -> None:
    tab = "\t" if "tsv" in name else ","
    content = f"id{tab}label{tab}text\n0{tab}glad{tab}oh joy\n1{tab}0{tab}woe\n".encode()
    path = tmp_path / name
    path.write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    samples = load_task(MOOD, path)
    assert [(sample.texts["text"], sample.label) for sample in samples] == [
        ("oh joy", 1),
        ("woe", 0),
    ]


def test_a_parquet_file_of_a_task_is_read_by_its_columns(tmp_path: Path) -> None:
    rows = [{"text": "oh joy", "label": 1}, {"text": "woe", "label": None}]
    write_table(Table.from_pylist(rows), tmp_path / "mood.parquet")
    assert [sample.label for sample in load_task(MOOD, tmp_path / "mood.parquet")] == [1, None]


RECORD = HUB["record"][0]
QUESTION = {"question": "Who?", "answers": [{"text": "Ann"}]}


@pytest.mark.parametrize(
    ("task", "row", "rule"),
    [
        (
            "boolq",
            {"q": "is it", "label": 1},
            "fields (q, label) must include question, passage; "
            "rename the fields or choose another task",
        ),
        (
            "boolq",
            {},
            "fields (none) must include question, passage; "
            "rename the fields or choose another task",
        ),
        (
            "boolq",
            {**OFFICIAL["boolq"], "passage": 3},
            "passage (number) must be text; write it as a string",
        ),
        (
            "boolq",
            {**OFFICIAL["boolq"], "label": 2},
            "label (2) must be one of False, True or an index below 2; "
            "mend the row, or give the task all of its labels",
        ),
        (
            "cb",
            {**OFFICIAL["cb"], "label": "maybe"},
            "label (maybe) must be one of entailment, contradiction, neutral or an index below 3; "
            "mend the row, or give the task all of its labels",
        ),
        (
            "copa",
            {**OFFICIAL["copa"], "label": [0]},
            "label ([0]) must be one of choice1, choice2 or an index below 2; "
            "mend the row, or give the task all of its labels",
        ),
        (
            "wsc",
            {"text": "He saw.", "target": "he"},
            "target (text) must be an object; write it as {...}",
        ),
        (
            "multirc",
            {"passage": "Ann slept."},
            "passage (text) must be an object; write it as {...}",
        ),
        (
            "multirc",
            {"passage": {"text": "Ann slept.", "questions": "Who?"}},
            "questions (text) must be a list; write it as [...]",
        ),
        (
            "multirc",
            {"passage": {"text": 3, "questions": [QUESTION]}},
            "paragraph (number) must be text; write it as a string",
        ),
        (
            "multirc",
            {"passage": {"text": "Ann.", "questions": [{**QUESTION, "answers": ["Ann"]}]}},
            "questions[0].answers (text) must be an object; write it as {...}",
        ),
        (
            "record",
            {**RECORD, "entities": []},
            "entities (0) must be at least one; remove the row",
        ),
        (
            "record",
            {**RECORD, "entities": [{"start": 0}]},
            "entities (object) must be text; write it as a string",
        ),
        (
            "record",
            {**RECORD, "answers": [3]},
            "answers (number) must be text; write it as a string",
        ),
        (
            "record",
            {"passage": {"text": "Ann", "entities": [{"start": 2, "end": 1}]}, "qas": []},
            "entities (from 2 to 1) must be places in the passage; "
            "write whole numbers, the first character and the last",
        ),
    ],
)
def test_a_row_that_does_not_fit_its_task_is_told_where_and_why(
    tmp_path: Path, task: str, row: object, rule: str
) -> None:
    path = written(tmp_path, "a.jsonl", row)
    assert told(task, path) == f"{path}, line 1: {rule}"


@pytest.mark.parametrize(
    ("name", "content", "rule"),
    [
        ("a.jsonl", "[1]\n", "{path}, record 1 must be a JSON object; write it as {{...}}"),
        ("a.jsonl", "", "source ({path}) must hold at least one sample; it is empty"),
        ("a.tsv", "", "source ({path}) must hold at least one sample; it is empty"),
        (
            "a.tsv",
            "text\tlabel\nwoe\t0\t1\n",
            "{path}, line 2 (3 columns) must have the 2 of the first line; mend the line, and "
            "write no tab inside a text",
        ),
        (
            "a.txt",
            "0 woe\n1\n",
            "{path}, line 2 (1) must be a label, a space and a text; mend or remove that line",
        ),
        (
            "a.txt",
            "2 woe\n",
            "{path}, line 1: label (2) must be one of sad, glad or an index below 2; mend the "
            "row, or give the task all of its labels",
        ),
    ],
)
def test_a_file_that_does_not_fit_is_told_where_and_why(
    tmp_path: Path, name: str, content: str, rule: str
) -> None:
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    assert told(MOOD, path) == rule.format(path=path)


def test_lines_of_a_label_and_a_text_are_for_tasks_of_one_text(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("0 text\n", encoding="utf-8")
    assert told("boolq", path) == (
        f"source ({path}) must end in .jsonl, .json, .csv, .tsv or .parquet, or in one of them and "
        ".gz; convert the file"
    )


def test_a_split_that_a_folder_lacks_is_told_with_those_it_has(tmp_path: Path) -> None:
    assert told("cb", tmp_path) == (
        f"split (train) must be one that {tmp_path} holds (none); name one of them, or a file"
    )
    written(tmp_path, "val.jsonl.gz", OFFICIAL["cb"])
    written(tmp_path, "test.tsv")
    assert told("cb", tmp_path) == (
        f"split (train) must be one that {tmp_path} holds (test, val); name one of them, or a file"
    )


def test_what_is_neither_a_path_nor_a_hub_id_is_refused() -> None:
    assert told("cb", "superglue") == (
        "source (superglue) must be a data file, a folder or a hub id (owner/name); check the path"
    )


def test_a_split_of_a_file_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, "a.jsonl", OFFICIAL["cb"])
    assert told("cb", path, split="validation") == (
        f"split (validation) must be left out where source ({path}) is a file, which has no "
        "splits; name the file of that split"
    )


def test_a_limit_below_one_is_refused() -> None:
    assert told("cb", "a.jsonl", limit=0) == (
        "limit (0) must be at least 1; leave it out to read everything"
    )


def test_the_hub_without_datasets_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ImportError) as error:
        load_task("cb", "aps/super_glue:cb")
    assert str(error.value) == (
        "reading aps/super_glue:cb from the hub needs datasets: "
        'pip install "tokenseek-common[data]"'
    )
