"""How samples become rows, and scores of rows answers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mept.training import (
    Asked,
    Base,
    ChoiceForm,
    ClassificationForm,
    OwnTask,
    TextToTextForm,
    find_sources,
    load_base,
    load_config,
    load_splits,
    log_likelihood,
    record_samples,
    with_prompts,
)
from mept.training._classification import outputs_of
from mept.training._fit import Schedule, training_rows
from saved import mood_rows, save_rows, save_tiny
from tokenseek_common import InputError
from tokenseek_common.cli import Console
from tokenseek_common.data import TASKS, Task, TaskSample, labelled_text_task

MOOD = labelled_text_task("mood", ("glad", "sad"))
WORDY = labelled_text_task("weather", ("sun", "rain grief", "mud"))  # of one token and of two


def sample(task: Task, text: str, answer: str) -> TaskSample:
    return TaskSample(task, {"text": text}, task.labels, (answer,))


SAMPLES = [
    sample(WORDY, "the old sun of a day and song", "sun"),
    sample(WORDY, "mud", "mud"),
    sample(WORDY, "grief and rain", "rain grief"),
    sample(WORDY, "a song the day", "sun"),
]


def query(*answers: str) -> TaskSample:
    texts = {
        "query": "@placeholder met a song",
        "entities": "Ann, Bob, Cy",
        "passage": "Ann met Bob and Cy met the sun of the old day",
    }
    return TaskSample(TASKS["record"], texts, ("Ann", "Bob", "Cy"), answers, group="passage")


def loaded(folder: Path, family: str, tasks: list[Task], **choices: Any) -> tuple[Base, Any]:
    """A tiny model, and the same with prompts that are large enough to be seen."""
    source = str(save_tiny(folder / family, family))
    asked = Asked.choose(
        load_config(source), tasks, **{"form": None, "max_length": None, "rows": 3} | choices
    )
    base = load_base(source, asked, device=torch.device("cpu"), dtype=torch.float32)
    torch.manual_seed(1)
    model = with_prompts(base, num_virtual_tokens=3, top_k=2, init_std=1.0)
    return base, model.eval()


def test_a_log_likelihood_is_the_sum_over_what_is_written() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(2, 3, 5), torch.tensor([[4, -100, 0], [-100, -100, 2]])
    logs = logits.log_softmax(-1)
    expected = torch.stack([logs[0, 0, 4] + logs[0, 2, 0], logs[1, 2, 2]])
    torch.testing.assert_close(log_likelihood(logits, labels), expected)
    assert log_likelihood(logits.bfloat16(), labels).dtype == torch.float32
    assert log_likelihood(logits, torch.full((2, 3), -100)).tolist() == [0, 0]


@pytest.mark.parametrize("family", ["llama", "gpt2", "t5", "bart"])
def test_the_choice_is_the_label_that_the_model_finds_likeliest_one_at_a_time(
    family: str, tmp_path: Path
) -> None:
    base, model = loaded(tmp_path, family, [WORDY])
    form = base.form
    expected = []
    for each in SAMPLES:
        likelihoods = []
        for row in form.choice_rows(each):
            ids, labels = (torch.tensor([row[name]]) for name in ("input_ids", "labels"))
            with torch.no_grad():
                found = model(input_ids=ids, labels=labels)
            count = (labels if family in ("t5", "bart") else labels[:, 1:]) != -100
            likelihoods.append(-float(found.loss) * int(count.sum()))
        expected.append(likelihoods)
    questions = form.questions(SAMPLES)
    assert questions.size == 12
    batch = form.collator([row for rows in questions.rows for row in rows])
    with torch.no_grad():
        scores = form.row_scores(model, batch).view(4, 3)
    torch.testing.assert_close(scores, torch.tensor(expected), rtol=1e-4, atol=1e-4)
    chosen = [row.index(max(row)) for row in expected]
    done: list[int] = []
    assert isinstance(form, ChoiceForm)
    assert form.choose(model, questions, batch_size=5, advance=done.append) == chosen
    assert done == [5, 5, 2]


@pytest.mark.parametrize("family", ["llama", "t5"])
def test_what_a_model_writes_is_what_it_writes_one_at_a_time(family: str, tmp_path: Path) -> None:
    base, model = loaded(tmp_path, family, [WORDY])
    form = base.form
    assert isinstance(form, TextToTextForm)
    together = form.write(model.train(), SAMPLES, batch_size=4)
    assert model.training, "it is left as it was"
    assert together == [form.write(model, [each], batch_size=1)[0] for each in SAMPLES]


def test_a_model_writes_behind_a_text_that_takes_all_of_its_positions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, model = loaded(tmp_path, "gpt2", [WORDY])
    form = base.form
    assert isinstance(form, TextToTextForm)
    long = sample(WORDY, "mud " * 80, "mud")
    assert max(len(row["input_ids"]) for row in form.choice_rows(long)) == 64
    asked: list[tuple[int, int]] = []
    generate = model.generate

    def noted(**settings: Any) -> Any:
        asked.append((settings["input_ids"].shape[1], settings["max_new_tokens"]))
        return generate(**settings)

    monkeypatch.setattr(model, "generate", noted)
    form.write(model, [long], batch_size=1)
    assert asked == [(61, 3)], "the longest choice, and the end of the sequence"


def test_a_router_does_not_see_the_answers_that_are_ranked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, model = loaded(tmp_path, "llama", [WORDY])
    seen: list[torch.Tensor] = []
    layer = next(module for module in model.modules() if type(module).__name__ == "MeptLayer")
    layer.base_layer.register_forward_pre_hook(
        lambda *_: seen.append(layer.current.call.routings[layer.name].prompts)
    )
    base.form.answers(model, base.form.questions(SAMPLES[:1]), batch_size=3)
    (prompts,) = seen
    for other in prompts[1:]:
        torch.testing.assert_close(other, prompts[0])


@pytest.mark.parametrize("family", ["llama", "t5", "bert"])
def test_a_sample_is_recorded_once_whatever_its_answer(family: str, tmp_path: Path) -> None:
    base, model = loaded(tmp_path, family, [WORDY])
    others = [sample(WORDY, each.texts["text"], "mud") for each in SAMPLES]
    groups = [each.texts["text"] for each in SAMPLES]
    found, again = (
        record_samples(base.form, model, samples, groups, batch_size=3, console=Console(quiet=True))
        for samples in (SAMPLES, others)
    )
    assert sorted(found.groups) == sorted(groups)
    places = [again.groups.index(group) for group in found.groups]
    torch.testing.assert_close(again.pooled[:, places], found.pooled)


def test_of_a_sample_of_record_a_classifier_routes_every_candidate(tmp_path: Path) -> None:
    base, model = loaded(tmp_path, "bert", [MOOD, TASKS["record"]])
    samples = [query("Bob"), sample(MOOD, "mud", "sad")]
    record = record_samples(
        base.form, model, samples, ["read", "felt"], batch_size=2, console=Console(quiet=True)
    )
    assert sorted(record.groups) == ["felt", "read", "read", "read"]


def test_a_sample_of_record_is_judged_candidate_by_candidate(tmp_path: Path) -> None:
    tasks = [MOOD, TASKS["record"]]
    base, model = loaded(tmp_path, "bert", tasks)
    form = base.form
    assert isinstance(form, ClassificationForm)
    assert [row["labels"] for row in form.train_rows(query("Bob"))] == [2, 3, 2]
    assert [row["labels"] for row in form.train_rows(sample(MOOD, "mud", "sad"))] == [1]
    scores = torch.tensor([[9.0, 9, 0, 1], [9, 9, 0, 3], [9, 9, 5, 6]])
    assert form.choice_scores(query("Bob"), scores).tolist() == [1, 3, 1]
    own = form.choice_scores(sample(MOOD, "mud", "sad"), torch.tensor([[0.0, 1, 9, 9]]))
    assert own.tolist() == [0, 1]
    both = [query("Bob"), sample(MOOD, "mud", "sad")]
    answers = form.choose(model, form.questions(both), batch_size=2)
    assert 0 <= answers[0] < 3
    assert answers[1] in (0, 1)


def test_the_choices_of_record_are_its_entities_where_a_model_writes(tmp_path: Path) -> None:
    base, model = loaded(tmp_path, "t5", [TASKS["record"]])
    rows = base.form.choice_rows(query("Bob"))
    decoded = [base.tokenizer.decode(row["labels"], skip_special_tokens=True) for row in rows]
    assert decoded == ["Ann", "Bob", "Cy"]
    (likely,) = base.form.answers(model, base.form.questions([query("Cy")]), batch_size=2)
    assert likely.shape == (3,)
    assert float(likely.sum()) == pytest.approx(1)


def test_outputs_of_a_head_are_shared_out_among_tasks() -> None:
    tasks = [MOOD, TASKS["record"], WORDY, TASKS["boolq"], TASKS["wic"]]
    spans = [outputs_of(task, tasks) for task in tasks]
    assert spans == [(0, 2), (2, 2), (4, 3), (7, 2), (9, 2)]
    assert outputs_of(TASKS["multirc"], tasks) == (7, 2), "the first with the same labels"
    with pytest.raises(InputError) as refused:
        outputs_of(TASKS["rte"], tasks[:2])
    assert str(refused.value) == (
        "task (rte: entailment, not_entailment) must have labels that the head was trained on "
        "(mood: glad, sad; record: entities); choose a task with them, or train on this one"
    )


def test_a_classifier_without_segments_and_several_tasks_reads_the_name_of_the_task(
    tmp_path: Path,
) -> None:
    base, _ = loaded(tmp_path, "llama", [MOOD], form="classification")
    (row,) = base.form.choice_rows(sample(MOOD, "mud", "sad"))
    assert set(row) == {"input_ids"}
    assert base.tokenizer.convert_ids_to_tokens(row["input_ids"])[0] == "mood"


@pytest.mark.parametrize(
    ("family", "length"), [("bert", 64), ("gpt2", 64), ("llama", 61), ("t5", 256)]
)
def test_inputs_are_as_long_as_the_positions_allow(
    family: str, length: int, tmp_path: Path
) -> None:
    config = load_config(str(save_tiny(tmp_path / family, family)))
    asked = Asked.choose(config, [MOOD], form=None, max_length=None, rows=3)
    assert asked.max_length == length


def test_rows_are_drawn_until_all_steps_have_theirs(tmp_path: Path) -> None:
    base, _ = loaded(tmp_path, "bert", [MOOD])
    schedule = Schedule(
        steps=5, batch_size=3, learning_rate=0.1, evaluate_every=1, temperature=1.0, seed=0
    )
    samples = [sample(MOOD, word, "sad") for word in ("mud", "rain", "grief")]
    rows = training_rows(base.form, samples, schedule)
    assert len(rows) == 15
    counts = [sum(row["input_ids"] == drawn["input_ids"] for row in rows) for drawn in rows]
    assert counts == [5] * 15


def test_a_sample_with_candidates_counts_for_one_and_they_take_turns(tmp_path: Path) -> None:
    base, _ = loaded(tmp_path, "bert", [MOOD, TASKS["record"]])
    schedule = Schedule(
        steps=6, batch_size=3, learning_rate=0.1, evaluate_every=1, temperature=1.0, seed=0
    )
    moods = [sample(MOOD, word, "sad") for word in ("mud", "rain", "grief")]
    queries = [query(name) for name in ("Ann", "Bob", "Cy")]
    rows = training_rows(base.form, [*moods, *queries], schedule)
    drawn = [str(row) for row in rows]
    taught = [row for each in queries for row in base.form.train_rows(each)]
    assert sorted(drawn) == sorted(
        [*(str(row) for row in taught), *(str(base.form.train_rows(each)[0]) for each in moods * 3)]
    ), "three times each, and of a query all three candidates"
    once = training_rows(base.form, queries, replace(schedule, steps=1))
    assert len({tuple(row["input_ids"]) for row in once}) > 1, "not the first of each"
    assert rows == training_rows(base.form, [*moods, *queries], schedule)


def test_paragraphs_of_multirc_are_not_parted(tmp_path: Path) -> None:
    rows = [
        {
            "paragraph": f"the day {place // 4}",
            "question": "mud",
            "answer": "a",
            "label": place % 2,
            "idx": {"question": place // 2},
        }
        for place in range(80)
    ]
    flat = [row | {"passage": None} for row in rows]
    for row in flat:
        del row["passage"]
    file = save_rows(tmp_path / "multirc.jsonl", flat)
    splits = load_splits(
        find_sources([f"multirc={file}"], OwnTask()),
        dev_size=0.25,
        test_size=0.2,
        limit=None,
        seed=0,
    )
    groups = [{each.group for each in part} for part in (splits.train, splits.dev, splits.test)]
    assert [len(found) for found in groups] == [12, 4, 4]
    assert not groups[0] & groups[1]
    assert not (groups[0] | groups[1]) & groups[2]


def test_tasks_of_superglue_come_from_the_hub_if_only_named() -> None:
    boolq, wsc = find_sources(["BoolQ", "wsc"], OwnTask())
    assert (boolq.train, wsc.train) == ("aps/super_glue:boolq", "aps/super_glue:wsc.fixed")
    assert boolq.has_splits


def test_a_comma_in_the_name_of_a_file_that_exists_parts_nothing(tmp_path: Path) -> None:
    file = save_rows(tmp_path / "a,b.jsonl", mood_rows(2))
    (source,) = find_sources([f"sst2={file}"], OwnTask())
    assert (source.train, source.test) == (str(file), None)
    (source,) = find_sources(["sst2=a.jsonl,b.jsonl"], OwnTask())
    assert (source.train, source.test) == ("a.jsonl", "b.jsonl")
