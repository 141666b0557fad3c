"""From a model and data to the tokens that a training would keep."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from tokenseek_common import InputError
from tokenseek_common.cli import Console, resolve_device, resolve_dtype
from tokenseek_common.data import (
    Example,
    Record,
    check_vocabulary,
    encode_record,
    encode_records,
    load_records,
)
from tokenseek_core._config import TokenSeekConfig
from tokenseek_core._instances import instance_of, share_kept, trains_densely
from tokenseek_core._recorded_step import RecordedStep, read_recorded
from tokenseek_core.inspect._seen import Seen, seen
from tokenseek_core.inspect._seen_settings import SeenSettings
from tokenseek_core.models._embedded import check_source
from tokenseek_core.models._positions import check_positions
from tokenseek_core.models._pretrained import load_pretrained, quiet


@dataclass(frozen=True)
class Sight:
    """What was looked at, and what is kept of it.

    Args:
        settings: What was asked for.
        config: What that is for TokenSeek.
        device: Where it was computed.
        seen: The instances.
        steps: What a training kept, if its log was given.
    """

    settings: SeenSettings
    config: TokenSeekConfig
    device: str
    seen: Seen
    steps: tuple[RecordedStep, ...] = ()

    def summary(self) -> dict[str, Any]:
        """Settings and counts by name, for JSON."""
        config, settings = self.config, self.settings
        return {
            "model": settings.model,
            "source": str(settings.data or settings.text),
            "device": self.device,
            **{
                name: getattr(config, name)
                for name in ("ratio", "answer_ratio", "selector", "gradient", "alpha", "beta")
            },
            **self.seen.shares.summary(),
            "supervised_share": self.seen.supervised_share,
            "steps": [step.summary() for step in self.steps],
        }

    def whole(self) -> dict[str, Any]:
        """The summary with every token, for JSON."""
        instances = [[asdict(token) for token in each] for each in self.seen.instances]
        return self.summary() | {"instances": instances}


def look(settings: SeenSettings, *, console: Console | None = None) -> Sight:
    """Look at what a training of a model on data would keep. Nothing is trained.

    Args:
        settings: Which model, which data, which tokens.
        console: Where notes are told; None tells nothing.

    Returns:
        The first instances token by token, and the steps of a training's log.

    Raises:
        InputError: Model, data or log cannot be read, or TokenSeek cannot train the model.

    Example:
        >>> sight = look(SeenSettings(data="train.jsonl"))  # doctest: +SKIP
        >>> sight.seen.shares.by_class["answer"].share  # doctest: +SKIP
    """
    console = Console(quiet=True) if console is None else console
    check_source(settings.model)
    steps = () if settings.log is None else read_recorded(settings.log)
    records = [_text(settings.text)] if settings.text else load_records(str(settings.data))
    device = resolve_device(settings.device)
    console.note(f"loading {settings.model}")
    model, tokenizer = load_pretrained(
        settings.model, device=device, dtype=resolve_dtype(settings.dtype, device)
    )
    longest = getattr(model.config, "max_position_embeddings", None)
    check_positions(settings.max_length, longest, field="max_length", source=settings.model)
    examples = _examples(settings, records, tokenizer)
    check_vocabulary(examples, tokenizer, rows=model.config.vocab_size)
    config = settings.config_for([instance_of(example) for example in examples])
    shown = examples[: settings.instances]
    share = share_kept([instance_of(example) for example in shown], config)
    if trains_densely(share, config):
        console.note(
            f"a training would be dense: with {share:.0%} of the tokens kept, two passes save "
            "nothing"
        )
    torch.manual_seed(settings.seed)
    with quiet():
        found = seen(model, tokenizer, shown, config)
    return Sight(settings, config, str(device), found, steps)


def _text(path: Path) -> Record:
    """A whole file as one text.

    Raises:
        InputError: It cannot be read, or is empty.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"text ({path}) must be a file of UTF-8 text; check the path") from error
    if not text.strip():
        raise InputError(f"text ({path}) must hold a text; it is empty")
    return Record(text=text)


def _examples(
    settings: SeenSettings, records: list[Record], tokenizer: PreTrainedTokenizerBase
) -> list[Example]:
    """Encode records as a fine-tuning would; a text is cut into stretches."""
    length = settings.max_length
    if settings.text is None:
        return encode_records(records, tokenizer, max_length=length, template=settings.template)
    whole = encode_record(records[0], tokenizer)
    stretches = [
        Example(whole.input_ids[start : start + length], whole.labels[start : start + length])
        for start in range(0, len(whole.input_ids), length)
    ]
    return [stretch for stretch in stretches if len(stretch.input_ids) > 1]
