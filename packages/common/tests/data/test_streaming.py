from __future__ import annotations

import gzip
import json
import logging
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyarrow import Table, total_allocated_bytes
from pyarrow.parquet import write_table
from torch.utils.data import DataLoader

from data.fake_tokenizer import FakeTokenizer
from tokenseek_common import InputError
from tokenseek_common.data import (
    ExampleStream,
    PaddingCollator,
    Record,
    encode_record,
    encode_records,
    iter_records,
    load_records,
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Twenty texts, the fourth of them empty."""
    texts = ["" if number == 3 else f"text {number}" for number in range(20)]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path


def tokenizer() -> FakeTokenizer:
    """One that numbers the words alike, in whichever order it meets them later."""
    made = FakeTokenizer()
    for number in range(20):
        encode_record(Record(text=f"text {number}"), made)
    return made


def stream(file: Path, **options: Any) -> ExampleStream:
    return ExampleStream(file, tokenizer(), **{"max_length": 8, **options})


def test_a_stream_gives_the_examples_that_a_list_of_records_gives(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    told = "of 20 records, 0 were cut at max_length (8) and 1 dropped, having nothing to learn"
    with caplog.at_level(logging.WARNING, logger="tokenseek_common.data"):
        streamed = list(stream(file))
        assert streamed == encode_records(load_records(file), tokenizer(), max_length=8)
    assert caplog.messages == [told, told]


def test_a_buffer_shuffles_by_seed_and_epoch(file: Path) -> None:
    plain = list(stream(file))
    once, again = stream(file, buffer=8, seed=5), stream(file, buffer=8, seed=5)
    epochs = [list(once) for _ in range(2)]
    assert [list(again) for _ in range(2)] == epochs
    assert epochs[0] != epochs[1] != plain != epochs[0]
    assert list(stream(file, buffer=8, seed=6)) != epochs[0]
    for epoch in epochs:
        assert sorted(example.input_ids for example in epoch) == sorted(e.input_ids for e in plain)


@pytest.mark.parametrize("taken", [0, 1, 2, 3])
@pytest.mark.parametrize("buffer", [1, 7])
def test_a_stream_goes_on_where_another_stopped(file: Path, buffer: int, taken: int) -> None:
    def batches(examples: ExampleStream) -> Any:
        collator = PaddingCollator(pad_token_id=0)
        return iter(DataLoader(examples, batch_size=4, collate_fn=collator))

    def ids(found: Any) -> list[list[list[int]]]:
        return [batch["input_ids"].tolist() for batch in found]

    whole, stopped = stream(file, buffer=buffer), stream(file, buffer=buffer)
    epochs = [ids(batches(whole)) for _ in range(3)]
    ids(batches(stopped))
    begun = batches(stopped)
    for _ in range(taken):
        next(begun)
    resumed = stream(file, buffer=buffer)
    resumed.load_state_dict(stopped.state_dict())
    assert ids(batches(resumed)) == epochs[1][taken:]
    assert ids(batches(resumed)) == epochs[2]


def test_a_state_of_another_order_is_refused(file: Path) -> None:
    with pytest.raises(InputError) as error:
        stream(file, buffer=2).load_state_dict(stream(file, buffer=3).state_dict())
    assert str(error.value) == (
        "buffer (2) must be 3, as in the state that is loaded; give the same data and options"
    )


def test_a_row_that_does_not_fit_is_told_when_it_is_come_to(file: Path) -> None:
    with file.open("a") as lines:
        lines.write('{"text": 3}\n')
    examples = iter(stream(file))
    for _ in range(19):
        next(examples)
    with pytest.raises(InputError, match=r"a\.jsonl, line 21: text \(number\) must be text"):
        next(examples)


def test_workers_are_refused(file: Path) -> None:
    loader = DataLoader(stream(file), batch_size=None, num_workers=1)
    with pytest.raises(InputError, match="num_workers must be 0 for a stream, whose state is"):
        next(iter(loader))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"buffer": 0}, "buffer (0) must be at least 1; 1 keeps the order"),
        (
            {"max_length": 1},
            "max_length (1) must be at least 2, one token and the next; choose a larger one",
        ),
    ],
)
def test_an_option_without_a_meaning_is_refused(
    file: Path, options: dict[str, Any], told: str
) -> None:
    with pytest.raises(InputError) as error:
        stream(file, **options)
    assert str(error.value) == told


def test_the_memory_of_a_parquet_file_is_that_of_a_row_group(tmp_path: Path) -> None:
    peaks = []
    for count in (50, 400):
        texts = [f"{number:03} word " * 2000 for number in range(count)]
        table = Table.from_pydict({"text": texts})
        write_table(table, tmp_path / "a.parquet", row_group_size=10, compression="none")
        del table
        before, kept = total_allocated_bytes(), 0
        for _ in iter_records(tmp_path / "a.parquet"):
            kept = max(kept, total_allocated_bytes() - before)
        peaks.append(kept)
    assert peaks[0] > 0
    # A reader has a group or two more at hand as its threads come; the file has eight times more.
    assert peaks[1] < 3 * peaks[0]


def jsonl(count: int) -> bytes:
    return (json.dumps({"text": "word " * 40}) + "\n").encode() * count


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", jsonl),
        ("a.csv", lambda count: b"text\n" + b"word " * 40 + (b"\n" + b"word " * 40) * (count - 1)),
        ("a.txt", lambda count: (b"word " * 40 + b"\n") * count),
        ("a.jsonl.gz", lambda count: gzip.compress(jsonl(count), 1)),
    ],
)
def test_memory_does_not_grow_with_the_file(
    tmp_path: Path, name: str, content: Callable[[int], bytes]
) -> None:
    peaks = []
    for count in (200, 1600):  # 40 and 320 kB
        path = tmp_path / name
        path.write_bytes(content(count))
        tracemalloc.start()
        try:
            assert sum(1 for _ in iter_records(path)) == count
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    assert peaks[1] < peaks[0] + 50_000
