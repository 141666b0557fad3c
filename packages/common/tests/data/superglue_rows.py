"""One row of each task of SuperGLUE in the layout of the official files, and in that of the hub."""

from __future__ import annotations

from collections.abc import Mapping

from tokenseek_common.data import TASKS, TaskSample

Row = Mapping[str, object]

PARAGRAPH = "Ann fed the cat. Then she slept."
ARTICLE = "Ann Lee met Bob.\n@highlight\nBob is from Rome\n@highlight\nHe met Lee"

OFFICIAL: Mapping[str, Row] = {
    "boolq": {"question": "is it wet", "passage": "It rains.", "idx": 0, "label": True},
    "cb": {"premise": "It may rain.", "hypothesis": "it rains", "label": "neutral", "idx": 0},
    "copa": {
        "premise": "It rained.",
        "choice1": "I got wet.",
        "choice2": "I got rich.",
        "question": "effect",
        "label": 0,
        "idx": 0,
    },
    "multirc": {
        "idx": 7,
        "version": 1.1,
        "passage": {
            "text": PARAGRAPH,
            "questions": [
                {
                    "question": "Who slept?",
                    "answers": [
                        {"text": "Ann", "idx": 0, "label": 1},
                        {"text": "The cat", "idx": 1, "label": 0},
                    ],
                    "idx": 3,
                },
                {
                    "question": "Who ate?",
                    "answers": [{"text": "The cat", "idx": 2, "label": 1}],
                    "idx": 4,
                },
            ],
        },
    },
    "record": {
        "source": "Daily mail",
        "passage": {
            "text": ARTICLE,
            "entities": [
                {"start": 0, "end": 6},
                {"start": 12, "end": 14},
                {"start": 28, "end": 30},
                {"start": 63, "end": 65},
            ],
        },
        "qas": [
            {
                "query": "@placeholder met Bob",
                "answers": [
                    {"start": 0, "end": 6, "text": "Ann Lee"},
                    {"start": 63, "end": 65, "text": "Lee"},
                ],
                "idx": 0,
            }
        ],
        "idx": 5,
    },
    "rte": {
        "premise": "It rains.",
        "hypothesis": "It is dry.",
        "label": "not_entailment",
        "idx": 0,
    },
    "wic": {
        "word": "bank",
        "sentence1": "By the bank.",
        "sentence2": "Rob a bank.",
        "idx": 0,
        "label": False,
        "start1": 7,
        "start2": 6,
        "end1": 11,
        "end2": 10,
        "version": 1.1,
    },
    "wsc": {
        "text": "He saw Bob, since he looked.",
        "target": {
            "span1_index": 2,
            "span1_text": "Bob",
            "span2_index": 4,
            "span2_text": "he",
        },
        "idx": 0,
        "label": False,
    },
}


def _answer(question: str, answer: str, place: tuple[int, int, int], label: int) -> Row:
    paragraph, asked, proposed = place
    return {
        "paragraph": PARAGRAPH,
        "question": question,
        "answer": answer,
        "idx": {"paragraph": paragraph, "question": asked, "answer": proposed},
        "label": label,
    }


HUB: Mapping[str, tuple[Row, ...]] = {
    "boolq": ({**OFFICIAL["boolq"], "label": 1},),
    "cb": ({**OFFICIAL["cb"], "label": 2},),
    "copa": (OFFICIAL["copa"],),
    "multirc": (
        _answer("Who slept?", "Ann", (7, 3, 0), 1),
        _answer("Who slept?", "The cat", (7, 3, 1), 0),
        _answer("Who ate?", "The cat", (7, 4, 2), 1),
    ),
    "record": (
        {
            "passage": ARTICLE,
            "query": "@placeholder met Bob",
            "entities": ["Ann Lee", "Bob", "Lee"],
            "answers": ["Ann Lee", "Lee"],
            "idx": {"passage": 5, "query": 0},
        },
    ),
    "rte": ({**OFFICIAL["rte"], "label": 1},),
    "wic": ({**OFFICIAL["wic"], "label": 0},),
    "wsc": (
        {
            "text": "He saw Bob, since he looked.",
            "span1_index": 2,
            "span2_index": 4,
            "span1_text": "Bob",
            "span2_text": "he",
            "idx": 0,
            "label": 0,
        },
    ),
}


def sample_of(task: str, answer: str, *, group: str = "", question: str = "") -> TaskSample:
    """A sample of a task with fixed labels whose texts are of no interest."""
    known = TASKS[task]
    texts = dict.fromkeys(known.fields, "text")
    return TaskSample(known, texts, known.labels, (answer,), group, question)
