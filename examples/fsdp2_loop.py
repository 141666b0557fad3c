"""Shard a small Llama by FSDP2, block by block, and train it with TokenSeek.

`torchrun --nproc-per-node 2 examples/fsdp2_loop.py` runs it in two processes, on GPUs or, where
there are none, on CPUs; plain `python` runs it in one. The model starts from random weights and
reads the source of torch's own front page, a byte a token.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch.distributed.fsdp import fully_shard
from transformers import LlamaConfig, LlamaForCausalLM

from tokenseek_core import TokenSeekConfig, apply_tokenseek

STEPS, BATCH, S = 6, 2, 256
ALONE = {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29511"}
"""What torchrun tells each process."""


def start() -> torch.device:
    """Join the other processes, and take this one's device."""
    for name, alone in ALONE.items():
        os.environ.setdefault(name, alone)
    dist.init_process_group()
    if not torch.accelerator.is_available():
        return torch.device("cpu")
    torch.accelerator.set_device_index(int(os.environ.get("LOCAL_RANK", "0")))
    return torch.accelerator.current_accelerator() or torch.device("cpu")


def main() -> None:
    """Train, each process on rows of its own."""
    device = start()
    torch.manual_seed(0)
    sizes = LlamaConfig(
        vocab_size=256,
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
    )
    model = LlamaForCausalLM(sizes).train()
    model.to(device=device)
    for block in model.model.layers:
        fully_shard(block)
    fully_shard(model)
    apply_tokenseek(model, TokenSeekConfig(ratio=0.1))  # or before it is sharded
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)

    text = torch.frombuffer(bytearray(Path(torch.__file__).read_bytes()), dtype=torch.uint8)
    rows = text[: STEPS * BATCH * dist.get_world_size() * S].long().view(STEPS, -1, BATCH, S)
    for step, batch in enumerate(rows[:, dist.get_rank()].to(device)):
        loss = model(input_ids=batch, labels=batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if dist.get_rank() == 0:
            sys.stdout.write(f"step {step + 1}: loss {loss:.3f}\n")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
