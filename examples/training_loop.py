"""Train a small Llama in a plain loop, densely and through a tenth of its tokens.

The model starts from random weights and reads the source of torch's own front page, so the example
runs anywhere; with a pretrained model only the first lines of `main` change.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from tokenseek_common.memory import format_bytes, ledger
from tokenseek_core import TokenSeekConfig, apply_tokenseek

STEPS, B, S = 30, 4, 256


def batches(text: bytes, seed: int) -> list[dict[str, Tensor]]:
    """Cut random windows out of a text, a byte a token."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.frombuffer(bytearray(text), dtype=torch.uint8).long()
    starts = torch.randint(len(tokens) - S, (STEPS, B), generator=generator)
    windows = tokens[starts[..., None] + torch.arange(S)]  # [steps, b, s]
    return [{"input_ids": ids, "labels": ids} for ids in windows]


def train(config: TokenSeekConfig | None) -> None:
    """Train from the same start; None is the dense step."""
    torch.manual_seed(0)
    sizes = LlamaConfig(
        vocab_size=256,
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=6,
        num_attention_heads=6,
        num_key_value_heads=2,
    )
    model = LlamaForCausalLM(sizes).train()
    if config is not None:
        apply_tokenseek(model, config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    data = batches(Path(torch.__file__).read_bytes(), seed=1)

    for step, batch in enumerate(data):
        with ledger(model, optimizer) as reading:
            model(**batch).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        working = reading.report.working or 0
        if step % 10 == 9:
            with torch.no_grad():
                loss = model(**data[0]).loss
            sys.stdout.write(
                f"  step {step + 1}: loss {loss:.3f}, working {format_bytes(working)}\n"
            )


if __name__ == "__main__":
    for name, config in (("dense", None), ("TokenSeek, r = 0.1", TokenSeekConfig(ratio=0.1))):
        sys.stdout.write(f"{name}\n")
        train(config)
