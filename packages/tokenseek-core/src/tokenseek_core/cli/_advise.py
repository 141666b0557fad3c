"""`tokenseek advise`: how to fine-tune one's own model on one's own data."""

from __future__ import annotations

from dataclasses import dataclass

from tokenseek_common.cli import CommonOptions, Console, check_folder
from tokenseek_core.advise import AdviseSettings, advise, option_table
from tokenseek_core.cli._written import write_result


@dataclass(frozen=True, kw_only=True)
class Advise(AdviseSettings, CommonOptions):
    """Say how to fine-tune a model on data: what each way takes, and which to choose.

    Reads the model's config and tokenizer, and the data. Memory is a forecast of the fullest
    instant of a step over the longest examples, as tokenseek estimate makes it. Operations are
    counted, not timed: a CPU follows them (docs/costs.md in the repository has both);
    on an accelerator short steps wait for their launches, so that tokenseek profile has to measure
    them there. Nothing is trained, and nothing is written unless --output names a folder, which
    then receives advise.json.
    """

    def run(self, console: Console) -> None:
        """Look, print, and write where a folder was named."""
        check_folder(self.output)
        advice = advise(self, console=console)
        material, chosen = advice.material, advice.recommendation
        console.table(
            f"{self.model} on {self.data}: {len(material.instances)} examples, "
            f"{material.tokens:,} tokens, {material.supervised_share:.0%} of them carry the loss; "
            f"steps of {self.batch_size} x {material.longest} tokens",
            *option_table(advice.options),
        )
        console.print(f"{chosen.step or 'none'}: {chosen.reason}")
        if chosen.command is not None:
            console.print(chosen.command)
        result = advice.summary()
        write_result(self.output, "advise", result)
        console.result(result)
