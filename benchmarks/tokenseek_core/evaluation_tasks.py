"""What SmolLM2 is tuned on and scored on by lm-evaluation-harness, from real data."""

from __future__ import annotations

import csv
import json
import random
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from study_tasks import DATA

Record = dict[str, str]

DEV = 32
"""Training records that the learning rate is chosen on."""

TESTED = 500
"""Questions of BoolQ that are scored."""

PASSAGE = 120
"""Characters of a passage of BoolQ at most, up to the end of a word."""


@dataclass(frozen=True)
class Split:
    """The records of a task.

    Args:
        train: What is learnt: prompt and response, or text.
        dev: Records of the same split that the rate is chosen on.
        test: What the harness reads.
    """

    train: list[Record]
    dev: list[Record]
    test: list[Record]


@dataclass(frozen=True)
class Evaluation:
    """A task of the harness, and what it is learnt from.

    Args:
        split: Reads the records.
        settings: The task's own lines of its YAML file.
        metric: What the harness reports.
        batch_size: Records of a step.
        max_length: Tokens of a record at most.
        ratio: Share of the tokens that TokenSeek keeps, of answers behind prompts that of the
            others.
        rates: Learning rates to choose from.
    """

    split: Callable[[], Split]
    settings: dict[str, object]
    metric: str
    batch_size: int = 8
    max_length: int = 128
    ratio: float = 0.1
    rates: tuple[float, ...] = (3e-5, 1e-4)

    def write(self, name: str, folder: Path) -> Split:
        """Write the records, and the task file `name.yaml` beside them."""
        folder.mkdir(parents=True, exist_ok=True)
        split = self.split()
        for part, records in vars(split).items():
            lines = "".join(json.dumps(record) + "\n" for record in records)
            (folder / f"{part}.jsonl").write_text(lines, encoding="utf-8")
        aggregation = "weighted_perplexity" if self.metric == "word_perplexity" else "mean"
        task = {
            "task": name,
            "dataset_path": "json",
            "dataset_kwargs": {"data_files": {"test": str(folder / "test.jsonl")}},
            "test_split": "test",
            "metric_list": [
                {
                    "metric": self.metric,
                    "aggregation": aggregation,
                    "higher_is_better": aggregation == "mean",
                }
            ],
        } | self.settings
        # JSON is YAML too.
        (folder / f"{name}.yaml").write_text(json.dumps(task, indent=1), encoding="utf-8")
        return split


def choice(choices: str | list[str]) -> dict[str, object]:
    """One of several answers, by their log-likelihoods behind the prompt as it was learnt."""
    return {
        "output_type": "multiple_choice",
        "doc_to_text": "{{prompt}}",
        "target_delimiter": "\n",  # what `--template plain` puts between prompt and response
        "doc_to_choice": choices,
        "doc_to_target": "{{right}}",
    }


def lines_of(file: str) -> list[dict[str, object]]:
    """The records of a JSONL file of SuperGLUE."""
    text = (DATA / f"text/superglue/{file}").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def learnt(records: list[Record], count: int, dev: int = DEV) -> tuple[list[Record], list[Record]]:
    """So many records to learn from, and some to choose the rate on; always the same."""
    drawn = random.Random(0).sample(records, count + dev)
    return drawn[:count], drawn[count:]


def copa() -> Split:
    """Which of two sentences is the cause, or the effect, of another."""

    def asked(file: str) -> list[Record]:
        return [
            {
                "prompt": f"{line['premise']}\nWhat was the {line['question']} of this?",
                "choice0": str(line["choice1"]),
                "choice1": str(line["choice2"]),
                "response": str(line["choice2" if line["label"] else "choice1"]),
                "right": str(line["label"]),
            }
            for line in lines_of(file)
        ]

    train, dev = learnt(asked("COPA/train_full.jsonl"), 256)
    return Split(train, dev, asked("COPA/val.jsonl"))


def rte() -> Split:
    """Whether one sentence follows from another."""

    def asked(part: str) -> list[Record]:
        file = DATA / f"text/superglue/RTE/glue_full/{part}.tsv"
        with file.open(encoding="utf-8") as lines:
            rows = list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))
        return [
            answered(
                f"{row['sentence1']}\nQuestion: {row['sentence2']} True or False?\nAnswer:",
                ("True", "False"),
                row["label"] == "not_entailment",
            )
            for row in rows
        ]

    test = asked("dev")
    premises = {premise_of(record) for record in test}  # four of them are in both parts
    short = [
        record
        for record in asked("train")
        if len(record["prompt"]) <= 400 and premise_of(record) not in premises
    ]
    train, dev = learnt(short, 128)
    return Split(train, dev, test)


def premise_of(record: Record) -> str:
    """The sentence that another may follow from."""
    return record["prompt"].rsplit("\nQuestion: ", 1)[0]


def boolq() -> Split:
    """A question about a passage, whose beginning is given; no passage is in two parts.

    The training split here has 32 questions: they come from the validation split, as do others.
    """
    groups: dict[object, list[Record]] = {}
    for line in lines_of("BoolQ/val.jsonl"):
        passage = str(line["passage"])
        shown = passage[: PASSAGE + 1].rsplit(" ", 1)[0] if len(passage) > PASSAGE else passage
        wrong = line["label"] not in (True, "true")
        prompt = f"{shown}\nQuestion: {line['question']}?\nAnswer:"
        groups.setdefault(passage, []).append(answered(prompt, ("yes", "no"), wrong))
    passages = list(groups.values())
    random.Random(0).shuffle(passages)
    test: list[Record] = []
    others: list[Record] = []
    for group in passages:
        (test if len(test) + len(group) <= TESTED else others).extend(group)
    train, dev = learnt(others, 64, dev=8)
    return Split(train, dev, test)


def answered(prompt: str, choices: tuple[str, str], second: bool) -> Record:
    """A question whose answer is one of two words."""
    return {"prompt": prompt, "response": choices[second], "right": str(int(second))}


def wikitext2() -> Split:
    """Articles of the validation text in pieces of 180 words; the first 400 of 20 others."""

    def articles(part: str) -> Iterable[str]:
        text = (DATA / f"text/wikitext2/{part}.txt").read_text(encoding="utf-8")
        return [body for body in re.split(r"\n = [^=]+ = \n", text) if body.strip()]

    def pieces(text: str, words: int) -> list[str]:
        found = re.findall(r"\S+\s*", text)
        return ["".join(found[i : i + words]).strip() for i in range(0, len(found), words)]

    known = [{"text": piece} for text in articles("valid") for piece in pieces(text, 180)]
    train, dev = learnt([record for record in known if len(record["text"]) > 600], 16, dev=8)
    test = [{"text": pieces(text, 400)[0]} for text in articles("test")]
    return Split(train, dev, test[:20])


EVALUATIONS = {
    "copa": Evaluation(copa, choice("{{[choice0, choice1]}}"), "acc", batch_size=16),
    "rte": Evaluation(rte, choice(["True", "False"]), "acc"),
    "wikitext2": Evaluation(
        wikitext2,
        {
            "output_type": "loglikelihood_rolling",
            "doc_to_text": "",
            "doc_to_target": "{{text}}",
        },
        "word_perplexity",
        batch_size=2,
        max_length=256,
        ratio=0.3,
    ),
    # The rate that both ways took for RTE, whose prompts are alike.
    "boolq": Evaluation(boolq, choice(["yes", "no"]), "acc", rates=(3e-5,)),
}
