"""What one step of a training kept, as a line of a log."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tokenseek_common import InputError
from tokenseek_common.data import IGNORE_INDEX
from tokenseek_core._kept_shares import Kept, KeptShares, kept_shares
from tokenseek_core._step import StepReport
from tokenseek_core._token_classes import TOKEN_CLASSES, TokenClasses


@dataclass(frozen=True)
class ScoreStatistics:
    """The scores of a step's tokens.

    Args:
        mean: Their mean.
        std: How far they lie from it; 0 of a single one.
        max: The highest.
    """

    mean: float
    std: float
    max: float

    @classmethod
    def of(cls, report: StepReport) -> ScoreStatistics:
        """Those of the real tokens of a step."""
        scores = report.scores[report.valid.to(report.scores.device)].double()
        figures = (scores.mean(), scores.std(correction=0), scores.max())
        return cls(*(figure.item() for figure in figures))


@dataclass(frozen=True)
class RecordedStep:
    """What one step kept.

    Args:
        step: Optimizer steps up to it, itself among them; of accumulated batches, the last.
        shares: Of each class, and of each part of an instance.
        supervised_share: Share of the kept tokens that have a target.
        score: Of all tokens.
    """

    step: int
    shares: KeptShares
    supervised_share: float
    score: ScoreStatistics

    @classmethod
    def of(cls, report: StepReport, step: int, classes: TokenClasses) -> RecordedStep:
        """Read what a step kept off its report."""
        return cls(
            step,
            kept_shares(_seen(report, classes)),
            report.supervised_share.item(),
            ScoreStatistics.of(report),
        )

    def line(self) -> str:
        """One line of JSON."""
        return json.dumps(self.summary())

    def summary(self) -> dict[str, Any]:
        """The figures by name, for JSON."""
        return {
            "step": self.step,
            **self.shares.summary(),
            "supervised_share": self.supervised_share,
            "score": asdict(self.score),
        }


def read_recorded(path: Path) -> tuple[RecordedStep, ...]:
    """Read a log, in the order of its steps; of a step that was taken twice, the later one.

    Raises:
        InputError: It cannot be read, holds nothing, or a line is none of a recorded step.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"log ({path}) must be a file that tokenseek finetune --record-every or "
            "TokenSeekCallback wrote; check the path"
        ) from error
    steps: dict[int, RecordedStep] = {}
    for number, line in enumerate(lines, 1):
        try:
            recorded = _recorded(json.loads(line))
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"log ({path}, line {number}) must be a recorded step; give the file that "
                "tokenseek finetune --record-every or TokenSeekCallback wrote"
            ) from error
        steps[recorded.step] = recorded
    if not steps:
        raise InputError(f"log ({path}) must hold at least one step; it is empty")
    return tuple(steps[step] for step in sorted(steps))


def _seen(report: StepReport, classes: TokenClasses) -> list[list[tuple[Any, bool]]]:
    """Class of each real token of each instance, and whether it was kept."""
    kept = report.valid.new_zeros(report.valid.shape)
    kept = kept.scatter(1, report.indices.to(kept.device), report.active.to(kept.device))
    labelled = (report.labels != IGNORE_INDEX).tolist()
    ids = None if report.input_ids is None else report.input_ids.tolist()
    return [
        [
            (classes.of(None if ids is None else ids[row][place], answer=labelled[row][place]), own)
            for place, (own, real) in enumerate(zip(of_row, of_valid, strict=True))
            if real
        ]
        for row, (of_row, of_valid) in enumerate(
            zip(kept.tolist(), report.valid.tolist(), strict=True)
        )
    ]


def _recorded(values: Mapping[str, Any]) -> RecordedStep:
    shares = KeptShares(
        {name: Kept(**values["by_class"][name]) for name in TOKEN_CLASSES},
        tuple(Kept(**part) for part in values["by_position"]),
    )
    return RecordedStep(
        int(values["step"]),
        shares,
        float(values["supervised_share"]),
        ScoreStatistics(**values["score"]),
    )
