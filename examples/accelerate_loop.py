"""Train a small Llama in a loop of accelerate, with accumulation, densely and with TokenSeek.

`accelerate launch examples/accelerate_loop.py` runs it on whatever devices accelerate is set up
for; plain `python` runs it on one. The model starts from random weights and reads the source of
torch's own front page, a byte a token.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
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


def train(config: TokenSeekConfig | None) -> None:
    """Train from the same start; None is the dense step."""
    accelerator = Accelerator(gradient_accumulation_steps=2)
    torch.manual_seed(0)
    sizes = LlamaConfig(
        vocab_size=256,
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
    )
    model = LlamaForCausalLM(sizes).train()
    if config is not None:
        apply_tokenseek(model, config)  # or to what `prepare` returns
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    loader: Any = DataLoader(Windows(), batch_size=4, shuffle=True)
    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)

    for step, batch in enumerate(loader):
        with accelerator.accumulate(model):
            loss = model(**batch).loss
            accelerator.backward(loss)
            optimizer.step()
            optimizer.zero_grad()
        if step % 10 == 9:
            accelerator.print(f"  step {step + 1}: loss {loss:.3f}")


if __name__ == "__main__":
    for name, config in (("dense", None), ("TokenSeek, r = 0.1", TokenSeekConfig(ratio=0.1))):
        Accelerator().print(name)
        train(config)
