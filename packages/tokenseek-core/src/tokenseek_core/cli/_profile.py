"""`tokenseek profile`: what a training step costs, densely and through the kept tokens."""

from __future__ import annotations

from dataclasses import dataclass

from tokenseek_common.cli import CommonOptions, Console, check_folder
from tokenseek_core.cli._written import write_result
from tokenseek_core.inspect import ProfileSettings, cost_table, profile


@dataclass(frozen=True, kw_only=True)
class Profile(ProfileSettings, CommonOptions):
    """Measure dense, checkpointed and TokenSeek steps of a model side by side.

    The batch is random tokens, all of them supervised. Nothing is trained; nothing is written
    unless --output names a folder, which then receives profile.json.
    """

    def run(self, console: Console) -> None:
        """Measure, print, and write where a folder was named."""
        check_folder(self.output)
        measured = profile(self, console=console)
        console.table(
            f"One step of {self.model}, {self.batch_size} x {self.length} tokens, "
            f"ratio {self.ratio:g}, on {measured.device}",
            *cost_table(measured.costs),
        )
        result = measured.summary()
        write_result(self.output, "profile", result)
        console.result(result)
