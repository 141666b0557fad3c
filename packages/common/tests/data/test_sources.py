from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from socket import gaierror
from types import ModuleType
from typing import Any

import pytest
from pyarrow import Table
from pyarrow.parquet import write_table

from tokenseek_common import InputError
from tokenseek_common.data import (
    Message,
    Preference,
    Record,
    _hub_rows,
    iter_records,
    load_preferences,
    load_records,
)

LAYOUTS = (
    "{messages}, {conversations}, {instruction, input, output}, {prompt, response}, "
    "{prompt, completion}, {question, answer}, {prompt, chosen}, {chosen, rejected} or {text}"
)
ROW = b'{"text": "one"}\n'


def told(source: str | Path, **options: Any) -> str:
    with pytest.raises(InputError) as error:
        load_records(source, **options)
    return str(error.value)


def written(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def test_a_jsonl_file_gives_a_record_a_line(tmp_path: Path) -> None:
    path = written(tmp_path, "a.jsonl", ROW + b"\n" + b'{"question": "a", "answer": "b"}\r\n')
    first, second = load_records(path)
    assert first == Record(text="one")
    assert [turn.content for turn in second.messages] == ["a", "b"]


def test_a_line_separator_inside_a_string_ends_no_line(tmp_path: Path) -> None:
    content = '{"text": "one\u2028two"}\n'.encode()
    assert load_records(written(tmp_path, "a.jsonl", content)) == [Record(text="one\u2028two")]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", b'\r\n[{"text": "one"}, {"text": "two"}]'),
        ("a.json", ROW + b'\n{"text": "two"}'),
    ],
)
def test_a_list_and_lines_of_objects_are_told_apart_by_their_first_character(
    tmp_path: Path, name: str, content: bytes
) -> None:
    path = written(tmp_path, name, content)
    assert load_records(path) == [Record(text="one"), Record(text="two")]


def test_the_cells_of_a_csv_file_are_text_to_the_letter(tmp_path: Path) -> None:
    content = (
        "\ufeffprompt,response,id\r\n"
        '"a, ""b""\nc",NA,1\r\n'
        "\r\n"
        "7,true\u2028x,\r\n"
        f'"{"long " * 30_000}",007,2'
    )
    records = load_records(written(tmp_path, "a.csv", content.encode()))
    said = [[turn.content for turn in record.messages] for record in records]
    assert said == [['a, "b"\nc', "NA"], ["7", "true\u2028x"], ["long " * 30_000, "007"]]


def test_the_cells_of_a_tsv_file_are_unquoted(tmp_path: Path) -> None:
    path = written(tmp_path, "a.tsv", b'prompt\tresponse\r\n"a\tb, c"\r\n')
    (record,) = load_records(path)
    assert [turn.content for turn in record.messages] == ['"a', 'b, c"']


def test_a_text_file_gives_a_record_a_line(tmp_path: Path) -> None:
    content = "\ufeff one\u2028two \r\n\n \nthree".encode()
    path = written(tmp_path, "a.txt", content)
    assert load_records(path) == [Record(text=" one\u2028two "), Record(text="three")]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl.gz", ROW),
        ("a.JSON.GZ", b'[{"text": "one"}]'),
        ("a.csv.gz", b"text\none\n"),
        ("a.txt.gz", b"one"),
    ],
)
def test_a_compressed_file_is_read_as_the_file_in_it(
    tmp_path: Path, name: str, content: bytes
) -> None:
    path = written(tmp_path, name, gzip.compress(content, mtime=0))
    assert load_records(path) == [Record(text="one")]


def test_a_parquet_file_gives_a_record_a_row(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "weight": 1}]
    rows = [{"text": "one", "messages": None}, {"text": None, "messages": turns}]
    path = tmp_path / "a.parquet"
    write_table(Table.from_pylist(rows), path)
    text, chat = load_records(path)
    assert text == Record(text="one")
    assert chat.messages == (Message("user", "a"), Message("assistant", "b"))


def test_a_parquet_file_without_pyarrow_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, "a.parquet", b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(ImportError) as error:
        load_records(path)
    assert str(error.value) == (
        f'reading {path} needs pyarrow: pip install "tokenseek-common[data]"'
    )


def test_records_are_read_one_at_a_time(tmp_path: Path) -> None:
    path = written(tmp_path, "a.jsonl", ROW + b"not json")
    records = iter_records(path)
    assert next(records) == Record(text="one")
    with pytest.raises(InputError, match="line 2 must be valid JSON"):
        next(records)


def test_a_byte_order_mark_is_skipped(tmp_path: Path) -> None:
    assert load_records(written(tmp_path, "a.jsonl", b"\xef\xbb\xbf" + ROW)) == [Record(text="one")]


def test_a_json_file_gives_a_record_an_object(tmp_path: Path) -> None:
    path = written(tmp_path, "a.JSON", b'[{"text": "one"}, {"text": "two"}]')
    assert load_records(str(path)) == [Record(text="one"), Record(text="two")]


def test_a_limit_reads_no_further(tmp_path: Path) -> None:
    path = written(tmp_path, "a.jsonl", ROW + ROW + b"not json")
    assert len(load_records(path, limit=2)) == 2


def test_a_path_may_begin_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    written(tmp_path, "a.jsonl", ROW)
    assert load_records("~/a.jsonl") == [Record(text="one")]


@pytest.mark.parametrize(
    ("name", "content", "rule"),
    [
        (
            "a.jsonl",
            ROW + b'{"text": one}\n',
            "{path}, line 2 must be valid JSON (Expecting value at column 10); "
            "mend or remove that line",
        ),
        (
            "a.jsonl",
            ROW + b'{"text": \r\n' + ROW,
            "{path}, line 2 must be valid JSON (Expecting value at column 10); "
            "mend or remove that line",
        ),
        (
            "a.jsonl",
            ROW + b"\n[1]\n",
            "{path}, line 3 must be a JSON object; write it as {{...}}",
        ),
        (
            "a.jsonl",
            ROW + b'{"text": 1}\n',
            "{path}, line 2: text (number) must be text; write it as a string",
        ),
        (
            "a.jsonl",
            ROW + b'{"text": "caf\xe9"}\n',
            "{path}, line 2 must be UTF-8 (byte 13 is 0xe9); save the file as UTF-8",
        ),
        (
            "a.jsonl",
            b"[" * 100_000,
            "{path} must be valid JSON (maximum recursion depth exceeded while decoding a JSON "
            "array from a unicode string); mend the file: a list of objects, or one object a line",
        ),
        ("a.jsonl", b"\n\n", "source ({path}) must hold at least one record; it is empty"),
        ("a.json", b"", "source ({path}) must hold at least one record; it is empty"),
        ("a.json", b"[]", "source ({path}) must hold at least one record; it is empty"),
        (
            "a.json",
            b'[{"text": "one"}]\n' + ROW,
            "{path}, line 2 must be valid JSON (Extra data at column 1); mend the file: a list of "
            "objects, or one object a line",
        ),
        (
            "a.json",
            b'[{"text": "one"},\n "two"]',
            "{path}, record 2 must be a JSON object; write it as {{...}}",
        ),
        (
            "a.json",
            b'[\n"caf\xe9"]',
            "{path}, line 2 must be UTF-8 (byte 6 is 0xe9); save the file as UTF-8",
        ),
        (
            "a.jsonl",
            '{"text": "one"}'.encode("utf-16"),
            "{path}, line 1 must be UTF-8 (byte 0 is 0xff); save the file as UTF-8",
        ),
        (
            "a.csv",
            b"prompt,response\n\na,b\nc,d,e\n",
            "{path}, line 4 (3 columns) must have the 2 of the first line; mend the line, and put "
            'a text with commas into "quotes"',
        ),
        (
            "a.csv",
            b'prompt,response\n"a\nb",c\n"d,e\n',
            "{path}, line 4 must be valid CSV (unexpected end of data); mend the quotes from that "
            "line on",
        ),
        (
            "a.csv",
            b"text,text\na,b\n",
            "{path}, line 1 (text) must name each column once; rename one of them",
        ),
        (
            "a.csv",
            b"question,reply\na,b\n",
            "{path}, line 2: fields (question, reply) must fit "
            + LAYOUTS.replace("{", "{{").replace("}", "}}")
            + "; rename the fields",
        ),
        (
            "a.csv",
            b"text\none\ncaf\xe9\n",
            "{path}, line 3 must be UTF-8 (byte 3 is 0xe9); save the file as UTF-8",
        ),
        ("a.csv", b"text\n", "source ({path}) must hold at least one record; it is empty"),
        ("a.txt", b" \r\n\n", "source ({path}) must hold at least one record; it is empty"),
        (
            "a.txt",
            b"one\ncaf\xe9\n",
            "{path}, line 2 must be UTF-8 (byte 3 is 0xe9); save the file as UTF-8",
        ),
        (
            "a.parquet",
            b"text and more",
            "source ({path}) must be a Parquet file that can be read (Parquet magic bytes not "
            "found in footer. Either the file is corrupted or this is not a parquet file); write "
            "it anew",
        ),
        (
            "a.jsonl.gz",
            ROW,
            "source ({path}) must be a whole gzip file; compress it again, or name it without .gz",
        ),
        (
            "a.jsonl.gz",
            gzip.compress(ROW, mtime=0)[:-9],
            "source ({path}) must be a whole gzip file; compress it again, or name it without .gz",
        ),
        (
            "a.xml",
            b"<text/>",
            "source ({path}) must end in .jsonl, .json, .csv, .tsv, .parquet or .txt, or in one of "
            "them and .gz; convert the file",
        ),
    ],
)
def test_a_file_that_cannot_be_read_is_told_where_and_what_to_mend(
    tmp_path: Path, name: str, content: bytes, rule: str
) -> None:
    path = written(tmp_path, name, content)
    assert told(path) == rule.format(path=path)


@pytest.mark.parametrize("source", ["absent.jsonl", "data/absent.json", "./absent", "/absent/one"])
def test_what_looks_like_a_path_must_exist(source: str) -> None:
    assert told(source) == f"source ({Path(source)}) must be an existing file; check the path"


def test_a_file_that_may_not_be_read_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    path = written(tmp_path, "a.jsonl", ROW)
    monkeypatch.setattr(Path, "open", forbidden)
    assert told(path) == (
        f"source ({path}) must be readable (Permission denied); check its permissions"
    )


def test_a_folder_is_not_a_file(tmp_path: Path) -> None:
    rule = f"source ({tmp_path}) must be a file, not a folder; name one file in it"
    assert told(tmp_path) == rule


@pytest.mark.parametrize("source", ["gsm8k", "a/b/c", "owner/na me", ""])
def test_what_is_neither_a_path_nor_a_hub_id_is_refused(source: str) -> None:
    assert told(source) == (
        f"source ({source}) must be a data file or a hub id (owner/name); check the path"
    )


@pytest.mark.parametrize(
    ("source", "options", "rule"),
    [
        ("a.jsonl", {"limit": 0}, "limit (0) must be at least 1; leave it out to read everything"),
        (
            "a.jsonl",
            {"limit": 1.5},
            "limit (1.5) must be a whole number; leave it out to read everything",
        ),
        (
            "a.jsonl",
            {"split": "test"},
            "split (test) must be left out where source (a.jsonl) is a file, which has no splits; "
            "name the file of that split",
        ),
        (None, {}, "source (None) must be a path or a hub id (owner/name); name one"),
    ],
)
def test_an_option_without_a_meaning_is_refused(
    source: Any, options: dict[str, Any], rule: str
) -> None:
    assert told(source, **options) == rule


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, ...]]:
    """What `datasets.load_dataset` is asked for; it answers with three rows."""
    calls: list[tuple[object, ...]] = []

    def load_dataset(
        name: str, config: str | None, *, split: str, streaming: bool
    ) -> Iterator[dict[str, str]]:
        calls.append((name, config, split, streaming))
        if name == "owner/absent":
            raise FileNotFoundError("Dataset 'owner/absent' doesn't exist.\nSecond line")
        return iter([{"text": "one"}, {"text": "two"}, {"label": "three"}])

    datasets = ModuleType("datasets")
    datasets.load_dataset = load_dataset  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", datasets)
    return calls


def test_a_hub_id_is_streamed_where_a_limit_is_set(asked: list[tuple[object, ...]]) -> None:
    records = load_records("openai/gsm8k:main", split="test", limit=2)
    assert records == [Record(text="one"), Record(text="two")]
    assert asked == [("openai/gsm8k", "main", "test", True)]


def test_a_row_of_the_hub_is_told_by_its_number(asked: list[tuple[object, ...]]) -> None:
    assert told("owner/name").startswith("owner/name (train), record 3: fields (label) must fit")
    assert asked == [("owner/name", None, "train", False)]


def test_a_hub_id_that_cannot_be_read_is_told_why(asked: list[tuple[object, ...]]) -> None:
    assert told("owner/absent") == (
        "source (owner/absent) must be an existing file or a readable hub data set (Dataset "
        "'owner/absent' doesn't exist); check the name, the split and the connection"
    )


@pytest.mark.parametrize(
    ("resolves", "proxies", "offline"),
    [(True, {}, False), (False, {}, True), (False, {"https": "http://proxy"}, False)],
)
def test_the_cache_alone_is_asked_where_the_name_of_the_hub_does_not_resolve(
    resolves: bool, proxies: dict[str, str], offline: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", False)

    def resolved(*_: object) -> list[object]:
        if resolves:
            return []
        raise gaierror(-2, "Name or service not known")

    asked_offline = []

    def load_dataset(*_: object, **__: object) -> Iterator[dict[str, str]]:
        asked_offline.append(hub.is_offline_mode())
        return iter([{"text": "one"}])

    datasets = ModuleType("datasets")
    datasets.load_dataset = load_dataset  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", datasets)
    monkeypatch.setattr(_hub_rows, "getaddrinfo", resolved)
    monkeypatch.setattr(_hub_rows, "getproxies", lambda: proxies)
    assert load_records("owner/name") == [Record(text="one")]
    assert asked_offline == [offline]
    assert not hub.is_offline_mode()


def test_the_hub_without_datasets_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ImportError) as error:
        load_records("owner/name")
    assert str(error.value) == (
        'reading owner/name from the hub needs datasets: pip install "tokenseek-common[data]"'
    )


def test_preferences_have_both_answers(tmp_path: Path) -> None:
    def said(*turns: str) -> Record:
        roles = ("user", "assistant", "user", "assistant")
        last = len(turns) - 1
        return Record(
            tuple(
                Message(role, turn, weight=int(place == last or role == "user"))
                for place, (role, turn) in enumerate(zip(roles, turns, strict=False))
            )
        )

    def turns(*contents: str) -> str:
        roles = ("user", "assistant", "user", "assistant")
        rows = [{"role": r, "content": c} for r, c in zip(roles, contents, strict=False)]
        return json.dumps(rows)

    lines = [
        '{"prompt": "2 + 2?", "chosen": "4", "rejected": "5"}',
        f'{{"chosen": {turns("a", "b", "c", "d")}, "rejected": {turns("a", "b", "c", "e")}}}',
    ]
    path = written(tmp_path, "pairs.jsonl", "\n".join(lines).encode())
    assert load_preferences(path) == [
        Preference(said("2 + 2?", "4"), said("2 + 2?", "5")),
        Preference(said("a", "b", "c", "d"), said("a", "b", "c", "e")),
    ]
    assert load_preferences(path, limit=1) == load_preferences(path)[:1]


def test_a_row_without_a_rejected_answer_is_refused_with_its_line(tmp_path: Path) -> None:
    path = written(tmp_path, "pairs.jsonl", b'{"prompt": "a", "chosen": "b"}\n')
    with pytest.raises(InputError) as error:
        load_preferences(path)
    assert str(error.value) == (
        f"{path}, line 1: fields (prompt, chosen) must fit {{prompt, chosen, rejected}} or "
        "{chosen, rejected}; rename the fields"
    )
    with pytest.raises(InputError, match="must hold at least one preference; it is empty"):
        load_preferences(written(tmp_path, "empty.jsonl", b"\n"))
