"""Train a small Llama in a loop of Lightning's Fabric, densely and with TokenSeek.

`pip install lightning-fabric` runs it anywhere: the model starts from random weights and reads the
source of torch's own front page, a byte a token.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from transformers import LlamaConfig, LlamaForCausalLM

from tokenseek_core import TokenSeekConfig, apply_tokenseek

ROWS, S = 120, 256


class Windows(Dataset[dict[str, Tensor]]):
    """The text in rows of S bytes."""

    def __init__(self) -> None:
        text = bytearray(Path(torch.__file__).read_bytes())
        self.rows = torch.frombuffer(text, dtype=torch.uint8)[: ROWS * S].view(ROWS, S).long()

    def __len__(self) -> int:
        """How many rows there are."""
        return ROWS

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        """One of them, to be learnt whole."""
        return {"input_ids": self.rows[number], "labels": self.rows[number]}


def train(fabric: Fabric, config: TokenSeekConfig | None) -> None:
    """Train from the same start; None is the dense step."""
    torch.manual_seed(0)
    sizes = LlamaConfig(
        vocab_size=256,
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
    )
    model = LlamaForCausalLM(sizes).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    wrapped, optimizer = fabric.setup(model, optimizer)
    if config is not None:
        apply_tokenseek(wrapped, config)  # or to the model, before `setup`
    loader: Any = DataLoader(Windows(), batch_size=4, shuffle=True)

    for step, batch in enumerate(fabric.setup_dataloaders(loader)):
        loss = wrapped(**batch).loss
        fabric.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
        if step % 10 == 9:
            fabric.print(f"  step {step + 1}: loss {loss:.3f}")


if __name__ == "__main__":
    fabric = Fabric(accelerator="auto", devices=1)
    for name, config in (("dense", None), ("TokenSeek, r = 0.1", TokenSeekConfig(ratio=0.1))):
        fabric.print(name)
        train(fabric, config)
