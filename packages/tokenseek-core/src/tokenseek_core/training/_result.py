"""What came of a fine-tuning."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class FinetuneResult:
    """What came of a fine-tuning.

    Args:
        model: What was fine-tuned, as the settings name it.
        output: The folder with the model or adapter, its tokenizer, checkpoints and finetune.json.
        steps: Optimizer steps.
        train_loss_first: The first loss that was logged, in nats a token; None if none was.
        train_loss_last: The last one.
        eval_loss_before: Loss of the held-out records before the first step; None without them.
        eval_loss_after: The same after the last step.
        tokens: Real tokens that went through the training steps of this session.
        tokens_per_second: The same, each second.
        seconds: From the start of training to the saved folder.
        kept_share: Share of the real tokens that carried gradient.
        supervised_share: Share of the kept tokens that have a target.
    """

    model: str
    output: Path
    steps: int
    train_loss_first: float | None
    train_loss_last: float | None
    eval_loss_before: float | None
    eval_loss_after: float | None
    tokens: int
    tokens_per_second: float
    seconds: float
    kept_share: float
    supervised_share: float

    def summary(self) -> dict[str, Any]:
        """The figures by name, for JSON."""
        return asdict(self) | {"output": str(self.output)}
