from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from tokenseek_common.data import TASKS, load_task, render_text_to_text, stratified_split

pytestmark = pytest.mark.real

CHECKOUT = Path(__file__).parents[4]
DATA = Path(os.environ.get("TOKENSEEK_DATA_DIR", CHECKOUT.parent / "shared" / "data"))
TEXT = DATA / "text"


@pytest.fixture(autouse=True)
def _real_data() -> None:
    if not TEXT.is_dir():
        pytest.skip(f"no real data at {DATA}; set TOKENSEEK_DATA_DIR")


@pytest.mark.parametrize(
    ("task", "source", "split", "counts"),
    [
        ("boolq", "superglue", "train", (14, 18)),
        ("boolq", "superglue", "validation", (1237, 2033)),
        ("cb", "superglue", "train_plus_test", (228, 240, 32)),
        ("cb", "superglue", "validation", (23, 28, 5)),
        ("copa", "superglue", "train_full", (195, 205)),
        ("copa", "superglue", "validation", (55, 45)),
        ("multirc", "superglue", "train", (86, 68)),
        ("multirc", "superglue", "validation", (2773, 2075)),
        ("rte", "superglue/RTE/glue_full", "train", (1249, 1241)),
        ("rte", "superglue/RTE/glue_full", "dev", (146, 131)),
        ("rte", "superglue", "validation", (146, 131)),
        ("sst2", "classification/stsa.binary.train", None, (3310, 3610)),
        ("sst2", "classification/stsa.binary.dev", None, (428, 444)),
        ("sst2", "classification/stsa.binary.test", None, (912, 909)),
        ("sst5", "classification/stsa.fine.train", None, (1092, 2218, 1624, 2322, 1288)),
        ("sst5", "classification/stsa.fine.dev", None, (139, 289, 229, 279, 165)),
        ("sst5", "classification/stsa.fine.test", None, (279, 633, 389, 510, 399)),
        ("trec", "classification/TREC.train.all", None, (1162, 1250, 86, 1223, 835, 896)),
        ("trec", "classification/TREC.test.all", None, (138, 94, 9, 65, 81, 113)),
    ],
)
def test_every_label_is_known_and_every_split_is_exact(
    task: str, source: str, split: str | None, counts: tuple[int, ...]
) -> None:
    samples = load_task(task, TEXT / source, split=split)
    counted = Counter(sample.label for sample in samples)
    assert tuple(counted[label] for label in range(len(TASKS[task].labels))) == counts
    assert all(all(text.strip() for text in sample.texts.values()) for sample in samples)
    assert all(render_text_to_text(sample).input.startswith(task) for sample in samples)

    units = len({sample.group for sample in samples}) if task == "multirc" else len(samples)
    train, held_out = stratified_split(samples, eval_size=0.25, seed=3)
    assert len(train) + len(held_out) == len(samples)
    if task == "multirc":
        groups = {sample.group for sample in held_out}
        assert len(groups) == round(units / 4)
        assert not groups & {sample.group for sample in train}
    else:
        assert len(held_out) == round(units / 4)
        drawn = Counter(sample.label for sample in held_out)
        for label, count in enumerate(counts):
            assert abs(drawn[label] - count * len(held_out) / units) < 1


def test_the_unlabelled_sets_are_read_and_have_no_answers() -> None:
    rte = load_task("rte", TEXT / "superglue" / "RTE" / "glue_full", split="test")
    copa = load_task("copa", TEXT / "superglue", split="unlabeled")
    assert (len(rte), len(copa)) == (3000, 400)
    assert not any(sample.answers for sample in (*rte, *copa))


def test_multirc_has_its_questions_and_paragraphs() -> None:
    samples = load_task("multirc", TEXT / "superglue", split="validation")
    assert len({(sample.group, sample.question) for sample in samples}) == 953
    assert len({sample.group for sample in samples}) == 83
