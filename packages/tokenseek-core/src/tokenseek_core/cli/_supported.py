"""`tokenseek supported`: whether a model can be trained, asked of its config alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import tyro

from tokenseek_common.cli import CommonOptions, Console, check_folder
from tokenseek_core.cli._written import write_result


@dataclass(frozen=True, kw_only=True)
class Supported(CommonOptions):
    """Say whether TokenSeek can train a model, and what to know of it.

    Needs the config alone, never the weights: a small random model of that config takes a step on
    the CPU in float32, with the self-check before it. The answer is "yes" for a tested family,
    "likely" for another decoder that passes, or "no" with the reason, and an honest "no" ends with
    exit code 0 too (--json says supported: false); code 2 is for a MODEL that cannot be read.
    Nothing is written unless --output names a folder, which then receives supported.json.
    """

    model: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="MODEL")]
    """A folder, a config.json, a hub id, or smollm2 for the embedded model."""

    def run(self, console: Console) -> None:
        """Judge, print, and write where a folder was named."""
        from tokenseek_core.models import supported  # only now: help need not wait for it

        check_folder(self.output)
        found = supported(self.model, seed=self.seed)
        console.print(f"{found.verdict.answer}: {found.verdict.reason}")
        for note in found.verdict.notes:
            console.print(f"- {note}")
        result = found.summary()
        write_result(self.output, "supported", result)
        console.result(result)
