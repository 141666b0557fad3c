"""`tokenseek estimate`: what a training step will need, from the config of a model alone."""

from __future__ import annotations

from dataclasses import dataclass

from tokenseek_common.cli import CommonOptions, Console, check_folder
from tokenseek_core._instances import share_kept, told
from tokenseek_core.cli._written import write_result
from tokenseek_core.estimate import EstimateSettings, estimate, memory_table, room_table


@dataclass(frozen=True, kw_only=True)
class Estimate(EstimateSettings, CommonOptions):
    """Tell what training steps of a model need, before there are weights or a GPU.

    Reads the config alone. Each way to fine-tune is run on tensors without memory, and the ledger
    of its second step is printed: every kind of memory at the instant of the peak, and their sum.
    Batches have no padding; the optimizer is fused AdamW. The rows with TokenSeek keep the tokens
    that tokenseek finetune would keep where --supervised is the share that carries the loss. Not in
    the numbers are what a GPU's allocator keeps without using, the workspaces inside kernels (among
    them one layer's weight that a 4-bit forward unpacks) and the context of CUDA. Chunks of logits
    count with 16 MiB, as where memory is short; an accelerator with room gives them up to 1 GiB.
    Nothing is written unless --output names a folder, which then receives estimate.json.
    """

    def run(self, console: Console) -> None:
        """Estimate, print, and write where a folder was named."""
        check_folder(self.output)
        found = estimate(self, console=console)
        share = share_kept([self.instance], self.chosen)
        console.print(f"TokenSeek {told(self.chosen, share)}.")
        console.table(
            f"One step of {self.model}, {self.batch_size} x {self.length} tokens, {found.dtype}",
            *memory_table(found.rows),
        )
        if self.device_memory is not None:
            console.table(
                f"On a device with {self.device_memory}: the longest sequence of a batch of "
                f"{self.batch_size}, the largest batch of {self.length} tokens each",
                *room_table(found.rows),
            )
        result = found.summary()
        write_result(self.output, "estimate", result)
        console.result(result)
