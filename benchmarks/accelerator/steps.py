"""The training steps that are measured: a decoder with random weights, tuned in full or by LoRA."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import statistics
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from accelerator.devices import MIB, device, now, reserved_peak, reset_reserved
from peft import LoraConfig, get_peft_model
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from transformers import AutoModelForCausalLM, LlamaConfig

from tokenseek_common.memory import MemoryReport, ledger, measure
from tokenseek_core import TokenSeekConfig
from tokenseek_core.inspect import Method, using

DECODERS: dict[str, dict[str, Any]] = {
    "llama-3.2-1b": {
        "vocab_size": 128_256,
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 64,
        "max_position_embeddings": 131_072,
        "tie_word_embeddings": True,
    },
    "toy": {
        "vocab_size": 256,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "tie_word_embeddings": True,
    },
}
CHUNK_ROWS = 1024
"""Rows of the head's loss at once, where torch has no loss of its own that works in chunks."""


@dataclass(frozen=True)
class Way:
    """A way to run a training step.

    Args:
        method: TokenSeek's settings, if any, and checkpointing.
        chunked_head: Whether head and loss work in chunks, so that logits never exist whole.
        supervised: Share of each instance that is, its end.
    """

    method: Method
    chunked_head: bool = False
    supervised: float = 1.0


SEEKING = {
    "answers-10": TokenSeekConfig.answers(0.1),
    "random-10": TokenSeekConfig(ratio=0.1, selector="random", gradient="restart", logits=False),
    "paper-10": dataclasses.replace(TokenSeekConfig.paper(), logits=False),
    "default-10": TokenSeekConfig(ratio=0.1),
    "default-30": TokenSeekConfig(ratio=0.3),
    "random-30": TokenSeekConfig(ratio=0.3, selector="random", gradient="restart", logits=False),
    "paper-30": dataclasses.replace(TokenSeekConfig.paper(), ratio=0.3, logits=False),
}


def way_of(name: str) -> Way:
    """The way that a cell's name says.

    One of SEEKING or "dense", "+checkpointing", "+chunked", and "+sixteenth" of the supervised.
    """
    base, *options = name.split("+")
    method = Method(base, SEEKING.get(base), checkpointing="checkpointing" in options)
    supervised = 1 / 16 if "sixteenth" in options else 1.0
    return Way(method, chunked_head="chunked" in options, supervised=supervised)


@functools.lru_cache(maxsize=1)
def decoder(shape: str, tuning: str) -> Any:
    """A decoder on the device, in bfloat16, its weights random."""
    torch.manual_seed(0)
    with torch.device(device()):
        model = AutoModelForCausalLM.from_config(
            LlamaConfig(**DECODERS[shape]), dtype=torch.bfloat16
        )
    return tuned(model, tuning).train()


def tuned(model: Any, tuning: str, *, rank: int = 16) -> Any:
    """The same with all weights trained ("full"), or with adapters beside its linear layers."""
    if tuning == "full":
        return model
    adapters = LoraConfig(
        task_type="CAUSAL_LM", r=rank, lora_alpha=2 * rank, target_modules="all-linear"
    )
    with warnings.catch_warnings():  # peft 0.21 asks transformers 5.23 by an old name
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        return get_peft_model(model, adapters)


def batch_of(model: Any, rows: int, length: int) -> Tensor:
    """Random tokens."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(3, model.config.vocab_size, (rows, length), generator=generator)
    return ids.to(device())


def loss_of(model: Any, ids: Tensor, way: Way) -> Tensor:
    """The loss of a step."""
    prompt = ids.shape[1] - round(way.supervised * ids.shape[1])
    if way.chunked_head:
        return chunked_loss(model, ids, prompt)
    labels = ids.index_fill(1, torch.arange(prompt, device=ids.device), -100)
    loss: Tensor = model(input_ids=ids, labels=labels, use_cache=False).loss
    return loss


def chunked_loss(model: Any, ids: Tensor, prompt: int = 0) -> Tensor:
    """The dense loss, its head in chunks: what users set against logits that do not fit.

    Args:
        model: The decoder.
        ids: Tokens.
        prompt: How many of each instance, its first, are not supervised.
    """
    begin = max(0, prompt - 1)  # the last of them carries the loss of the token behind it
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    hidden = base.model(input_ids=ids, use_cache=False).last_hidden_state
    rows, targets = hidden[:, begin:-1].flatten(0, 1), ids[:, begin + 1 :].flatten()
    weight = base.get_output_embeddings().weight
    if has_chunked_loss():
        options = torch.nn.LinearCrossEntropyOptions()
        return F.linear_cross_entropy(rows, weight, targets, options=options)
    return plain_chunked_loss(rows, weight, targets)


def has_chunked_loss() -> bool:
    """Whether torch has a head and loss in chunks."""
    return hasattr(torch.nn, "LinearCrossEntropyOptions")


def plain_chunked_loss(rows: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """The same by a loop that computes the logits of each chunk again in the backward pass."""

    def of_chunk(rows: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy((rows @ weight.T).float(), targets, reduction="sum")

    chunks = zip(rows.split(CHUNK_ROWS), targets.split(CHUNK_ROWS), strict=True)
    losses = [checkpoint(of_chunk, *chunk, use_reentrant=False) for chunk in chunks]
    return torch.stack(losses).sum() / len(rows)


@dataclass(frozen=True)
class Training:
    """A model that trains in some way, with an optimizer that changes nothing."""

    model: Any
    way: Way
    optimizer: torch.optim.Optimizer

    def step(self, ids: Tensor) -> float:
        """Take a step; gives the seconds that its optimizer took."""
        loss_of(self.model, ids, self.way).backward()
        begin = now()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return now() - begin

    def memory(self, ids: Tensor) -> MemoryReport:
        """The memory of a step: the allocator's count, or the ledger's on a CPU."""
        on_cpu = device().type == "cpu"
        with ledger(self.model, self.optimizer) if on_cpu else measure(device()) as reading:
            self.step(ids)
        return reading.report


@contextlib.contextmanager
def training(model: Any, way: Way) -> Iterator[Training]:
    """Let `model` train in a way inside the block."""
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=0.0, weight_decay=0.0, fused=True)
    try:
        with using(model, way.method, check=False):
            yield Training(model, way, optimizer)
    finally:
        optimizer.zero_grad()


def standing_bytes(model: Any) -> int:
    """Bytes of weights, gradients and AdamW's two averages, which no method here changes."""
    sizes = [(p.numel() * p.element_size(), p.requires_grad) for p in model.parameters()]
    return sum(size * (4 if trained else 1) for size, trained in sizes)


def step_cost(
    *, shape: str, tuning: str, method: str, rows: int, length: int, seconds: float = 6.0
) -> dict[str, Any]:
    """Memory and time of a step, the optimizer's included.

    Args:
        shape: One of DECODERS.
        tuning: "full" or "lora".
        method: See `way_of`.
        rows: Instances of the batch.
        length: Tokens of each.
        seconds: After which no step is begun, once two are timed; five at most are.
    """
    model, way = decoder(shape, tuning), way_of(method)
    ids = batch_of(model, rows, length)
    reset_reserved()
    try:
        with training(model, way) as trained:
            trained.step(ids)  # the first step makes the optimizer's state
            report = trained.memory(ids)
            reserved = reserved_peak()
            times: list[tuple[float, float]] = []
            end = now() + seconds
            while len(times) < 2 or (len(times) < 5 and now() < end):
                begin = now()
                in_optimizer = trained.step(ids)
                times.append((now() - begin, in_optimizer))
    except torch.OutOfMemoryError:
        return {"out_of_memory": True}
    finally:
        reset_reserved()
    whole = statistics.median(time for time, _ in times)
    standing = standing_bytes(model)
    return {
        "seconds": whole,
        "optimizer_seconds": statistics.median(time for _, time in times),
        "steps": len(times),
        "tokens_per_second": rows * length / whole,
        "peak_allocated_mib": report.peak / MIB,
        "peak_reserved_mib": None if reserved is None else reserved / MIB,
        "standing_mib": standing / MIB,
        "working_mib": (report.peak - standing) / MIB,
        "counted_by": report.source,
    }
