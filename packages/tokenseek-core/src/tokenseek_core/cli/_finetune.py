"""`tokenseek finetune`: fine-tune a model on a data set through the tokens that matter."""

from __future__ import annotations

from dataclasses import dataclass

from tokenseek_common.cli import CommonOptions, Console
from tokenseek_core.training import FinetuneSettings, finetune


@dataclass(frozen=True, kw_only=True)
class Finetune(FinetuneSettings, CommonOptions):
    """Fine-tune a model on instructions, conversations or text.

    Writes a folder that from_pretrained opens: the model or, with --adapter, an adapter; and its
    tokenizer. Checkpoints stand beside it, and finetune.json says how it came about. A run that was
    interrupted goes on with --resume and the same options, to the same result.
    """

    resume: bool = False
    """Go on with the interrupted run in --output."""

    def run(self, console: Console) -> None:
        """Fine-tune, and print what came of it."""
        result = finetune(self, output=self.output, resume=self.resume, console=console).summary()
        console.table(
            "Fine-tuned",
            ["figure", "value"],
            [
                [name.replace("_", " "), value]
                for name, value in result.items()
                if value is not None
            ],
        )
        console.result(result)
