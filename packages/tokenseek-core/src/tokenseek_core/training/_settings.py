"""What a fine-tuning can be asked for."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Annotated, Literal, TypeAlias

import tyro

from tokenseek_common import InputError
from tokenseek_common.cli import DtypeName, check_counts, check_positive, on_unless
from tokenseek_common.data import Template
from tokenseek_core._config import TokenSeekConfig
from tokenseek_core._row_settings import RowSettings
from tokenseek_core.estimate._device_memory import parse_memory
from tokenseek_core.models._adapters import ALPHA, RANK, Adapters
from tokenseek_core.training._reporters import Reporter

AdapterName: TypeAlias = Literal["none", "lora", "dora", "loha", "qlora"]
"""What is trained in place of the weights, and over which base."""

FREE = (
    "data",
    "eval_data",
    "device",
    "kv_offload",
    "movement_check",
    "lora",
    "report_to",
    "push_to_hub",
    "record_every",
)
"""Settings that may differ when a run is resumed; of the data, the records are compared."""


@dataclass(frozen=True, kw_only=True)
class FinetuneSettings(RowSettings):
    """What `finetune` does; the options of `tokenseek finetune` are the same.

    Raises:
        InputError: A value is outside its range.

    Example:
        >>> FinetuneSettings(model="smollm2", data="train.jsonl", lora=True).peak_rate
        0.0002
    """

    model: str
    """A folder, a hub id, or smollm2 for the embedded model."""

    data: str
    """A file (.jsonl, .json, .csv, .tsv, .parquet, .txt), or a data set on the hub."""

    eval_data: str | None = None
    """Held-out records, as --data; their loss is taken before, at every checkpoint and after."""

    template: Template = "auto"
    """How a conversation is written out: chat is the tokenizer's own template, alpaca and plain are
    for models that have none; auto is chat where there is one, and alpaca elsewhere."""

    chat_template: str | None = None
    """A chat template, or a file with one, in place of the tokenizer's own; it is saved with it."""

    alpha: float = 1.0
    """Weight of the context score, the attention that a token receives."""

    beta: float = 1.0
    """Weight of the gradient score."""

    adapter: AdapterName = "none"
    """Train an adapter on linear layers instead of the weights: lora, dora and loha are those of
    peft, qlora is lora over a base of four bits a weight."""

    lora: bool = False
    """The same as --adapter lora."""

    adapter_rank: int = RANK
    """Rank of each adapter."""

    adapter_alpha: int = ALPHA
    """What each adapter is multiplied by, times its rank."""

    adapter_targets: tuple[str, ...] = ()
    """Names of the layers that get an adapter, such as q_proj v_proj; by default every linear layer
    but the head."""

    adapter_dropout: float = 0.0
    """Share of the inputs of each adapter that a step leaves out. Both passes of a step draw their
    own, so what is kept stands for another draw than what was recorded."""

    merge: bool = False
    """Save the weights with the adapter added to them, in place of the adapter."""

    gradient_checkpointing: bool = False
    """Recompute activations instead of keeping them."""

    kv_offload: bool = False
    """Keep the recorded keys and values in pinned host memory: for long sequences on a GPU."""

    bf16: bool = False
    """Compute in bfloat16, by autocast; the weights keep their --dtype."""

    dtype: DtypeName = "auto"
    """Precision of the weights; auto is float32, and with --adapter qlora bfloat16 where a CUDA
    device has it."""

    learning_rate: Annotated[float | None, tyro.conf.arg(aliases=("--lr",))] = None
    """Highest learning rate; by default 2e-5, with an adapter 2e-4."""

    weight_decay: float = 0.0
    """Of AdamW, for all but norms and biases."""

    epochs: float = 1.0
    """Passes over the data."""

    steps: Annotated[int | None, tyro.conf.arg(aliases=("--max-steps",))] = None
    """Optimizer steps, in place of --epochs."""

    batch_size: int = 4
    """Sequences that go through the model at a time."""

    accumulate: int = 1
    """Batches of an optimizer step."""

    max_length: int | None = None
    """Tokens of a sequence, longer ones are cut; by default 1024 if the model has so many."""

    device_memory: Annotated[str | None, tyro.conf.arg(metavar="SIZE")] = None
    """Memory of the device, such as 24GiB, that steps must fit into with --ratio auto."""

    packing: bool = False
    """Lay several examples in a row of at most --max-length tokens, in place of padding; they stay
    apart. --batch-size then counts rows."""

    save_steps: int = 500
    """Steps from one checkpoint to the next; the last two are kept."""

    report_to: Reporter = "none"
    """Where losses are drawn besides; what a program needs, such as a key, it asks for itself."""

    record_every: int | None = None
    """Steps from one whose kept shares are recorded to the next, in kept.jsonl in the output
    folder; tokenseek inspect --log draws them."""

    push_to_hub: Annotated[str | None, tyro.conf.arg(metavar="REPO")] = None
    """A repository on the hub, such as you/model, that the folder goes to at the end, with a model
    card."""

    movement_check: Annotated[
        bool, on_unless("Do not look whether all that is trained has moved.")
    ] = True
    """After the first steps, tell which parameters have had no gradient or have not moved."""

    def __post_init__(self) -> None:
        super().__post_init__()
        names = ("steps", "batch_size", "accumulate", "save_steps", "adapter_rank", "adapter_alpha")
        check_counts({name: getattr(self, name) for name in (*names, "record_every")})
        check_counts({"max_length": self.max_length}, least=2)
        check_positive({"learning_rate": self.learning_rate, "epochs": self.epochs})
        if not 0 <= self.weight_decay < math.inf:
            raise InputError(
                f"weight_decay ({self.weight_decay}) must be at least 0; 0.01 is usual"
            )
        if not 0 <= self.adapter_dropout < 1:
            raise InputError(
                f"adapter_dropout ({self.adapter_dropout}) must be from 0 to below 1; 0.05 is usual"
            )
        if self.merge and self.trained in ("none", "qlora"):
            raise InputError(
                f"merge (True) must go with an adapter over whole weights ({self.trained}); choose "
                "--adapter lora, dora or loha, or leave it out"
            )
        if self.dtype == "float16":
            raise InputError(
                "dtype (float16) must be one whose gradients do not vanish; "
                "choose --dtype float32, with --bf16 where there is bfloat16"
            )
        if (self.ratio == "auto") != (self.device_memory is not None):
            raise InputError(
                f"ratio, device_memory ({self.ratio}, {self.device_memory}) must be auto and a "
                "number of bytes, or a number and left out; write --ratio auto --device-memory "
                "24GiB, or leave out --device-memory"
            )
        if self.device_memory is not None:
            parse_memory(self.device_memory)
        if self.chat_template is not None and self.template in ("alpaca", "plain"):
            raise InputError(
                f"template ({self.template}) must be auto or chat with --chat-template; leave one "
                "of them out"
            )
        if self.lora and self.adapter not in ("none", "lora"):
            raise InputError(
                f"adapter ({self.adapter}) must not go with --lora, which is --adapter lora; leave "
                "one of them out"
            )
        _ = self.config

    @property
    def config(self) -> TokenSeekConfig:
        """TokenSeek's own settings, where the data leave them as they are."""
        return replace(super().config, alpha=self.alpha, beta=self.beta, kv_offload=self.kv_offload)

    @property
    def trained(self) -> AdapterName:
        """The adapter that is trained, by whichever name it is asked for."""
        return "lora" if self.lora else self.adapter

    @property
    def adapters(self) -> Adapters | None:
        """The same with its sizes; None trains the weights."""
        name = self.trained
        if name == "none":
            return None
        return Adapters(
            kind="lora" if name == "qlora" else name,
            rank=self.adapter_rank,
            alpha=self.adapter_alpha,
            dropout=self.adapter_dropout,
            targets=self.adapter_targets,
        )

    @property
    def peak_rate(self) -> float:
        """The given learning rate, or what suits what is trained."""
        if self.learning_rate is not None:
            return self.learning_rate
        return 2e-5 if self.adapters is None else 2e-4

    @property
    def decisive(self) -> dict[str, object]:
        """The settings that make a run what it is."""
        names = [field.name for field in fields(FinetuneSettings) if field.name not in FREE]
        options = {name: getattr(self, name) for name in names}
        return options | {
            "learning_rate": self.peak_rate,
            "adapter": self.trained,
            "adapter_targets": list(self.adapter_targets),
        }
