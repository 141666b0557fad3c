"""What does not fit is taken off the one long text of a task: never its question, never a mark."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tokenseek_common._errors import InputError
from tokenseek_common.data._encoding import located_tokens
from tokenseek_common.data._tasks import TaskSample
from tokenseek_common.data._tokenizers import Tokenizer


def shortened_sample(
    sample: TaskSample,
    tokenizer: Tokenizer,
    length: Callable[[TaskSample], int],
    max_length: int,
) -> TaskSample:
    """The sample with the end of its long text cut off, until its length is within the limit."""
    needed, field = length(sample), sample.task.long_field
    if needed <= max_length:
        return sample
    whole = "" if field is None else sample.texts[field]
    ends = [
        end
        for _, (_, end) in located_tokens(
            whole, tokenizer, add_special_tokens=False, split_special_tokens=True
        )
    ]
    kept, cut = len(ends), sample
    while needed > max_length:
        if field is None or kept == 0:
            without = "" if field is None else f" without its {field}"
            raise InputError(
                f"max_length ({max_length}) must hold a {sample.task.name} sample{without} "
                f"({needed} tokens); raise it"
            )
        # Tokens may join differently where the text now ends, hence the loop.
        kept = max(0, kept - (needed - max_length))
        cut = replace(sample, texts={**sample.texts, field: whole[: ends[kept - 1] if kept else 0]})
        needed = length(cut)
    return cut
