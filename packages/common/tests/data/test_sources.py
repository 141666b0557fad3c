from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tokenseek_common import InputError
from tokenseek_common.data import Record, load_records

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
            "{path}, line 1 must be valid JSON (maximum recursion depth exceeded while decoding "
            "a JSON array from a unicode string); mend or remove that line",
        ),
        ("a.jsonl", b"\n\n", "source ({path}) must hold at least one record; it is empty"),
        ("a.json", b"", "source ({path}) must hold at least one record; it is empty"),
        ("a.json", b"[]", "source ({path}) must hold at least one record; it is empty"),
        (
            "a.json",
            b'{"text": "one"}',
            "{path} must hold a list of objects; mend the file, or name it .jsonl if it holds one "
            "object a line",
        ),
        (
            "a.json",
            ROW + ROW,
            "{path}, line 2 must be valid JSON (Extra data at column 1); mend the file, or name it "
            ".jsonl if it holds one object a line",
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
            "a.csv",
            b"text\none\n",
            "source ({path}) must end in .jsonl or .json; convert the file, one object a line",
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
        f"source ({source}) must be a .jsonl or .json file or a hub id (owner/name); check the path"
    )


def test_a_limit_below_one_is_refused() -> None:
    assert told("a.jsonl", limit=0) == (
        "limit (0) must be at least 1; leave it out to read everything"
    )


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


def test_the_hub_without_datasets_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ImportError) as error:
        load_records("owner/name")
    assert str(error.value) == (
        'reading owner/name from the hub needs datasets: pip install "tokenseek-common[data]"'
    )
