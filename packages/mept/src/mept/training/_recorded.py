"""Samples of tasks, run through a model while its routing is recorded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mept._recording import RoutingRecord, record_routing
from mept.training._forms import Form, batches, device_of, scoring
from tokenseek_common.cli import Console
from tokenseek_common.data import TaskSample


def record_samples(
    form: Form,
    model: Any,
    samples: Sequence[TaskSample],
    groups: Sequence[str],
    *,
    batch_size: int,
    console: Console,
) -> RoutingRecord:
    """Record how a model routes samples.

    A sample is recorded once: where a model writes, its routers see the question alone, whatever
    the answer. Only a classifier of candidates reads, and so routes, each of them.

    Args:
        form: How the model is asked.
        model: A model with prompts.
        samples: What it is asked, with right answers.
        groups: What each sample is told apart by.
        batch_size: Rows that go through the model at a time.
        console: Where progress is told.
    """
    encoded = [form.train_rows(sample) for sample in samples]
    rows = [row for found in encoded for row in found]
    names = [name for name, found in zip(groups, encoded, strict=True) for _ in found]
    with (
        scoring(model),
        record_routing(model) as record,
        console.progress("recording", total=len(rows)) as progress,
    ):
        for places, batch in batches(rows, form.collator, batch_size, device_of(model)):
            record.group = [names[place] for place in places]
            form.row_scores(model, batch)
            progress.advance(len(places))
    return record
