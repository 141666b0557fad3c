"""A chat template in place of the tokenizer's own."""

from __future__ import annotations

from pathlib import Path

from jinja2 import TemplateSyntaxError
from transformers import PreTrainedTokenizerBase

from tokenseek_common import InputError


def give_chat_template(tokenizer: PreTrainedTokenizerBase, given: str) -> None:
    """Let conversations be written out by another template, which is saved with the tokenizer.

    Args:
        tokenizer: The tokenizer.
        given: The template, or a file that holds it.

    Raises:
        InputError: It is neither, or no template of Jinja.
    """
    tokenizer.chat_template = _read(given)
    try:
        tokenizer.apply_chat_template([{"role": "user", "content": "a"}], tokenize=False)
    except TemplateSyntaxError as error:
        raise InputError(
            f"chat_template (line {error.lineno}: {error.message}) must be a template of Jinja; "
            "mend that line"
        ) from error
    except Exception:  # it may know no conversation as short as this; the records will tell
        return


def _read(given: str) -> str:
    if "{{" in given or "{%" in given:
        return given
    try:
        text = Path(given).expanduser().read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise InputError(
            f"chat_template ({given}) must be a file that can be read, or a template with {{{{ and "
            "}}; check the path"
        ) from error
    if "{{" not in text and "{%" not in text:
        raise InputError(
            f"chat_template ({given}) must hold a template with {{{{ and }}}}, and has none; "
            "choose another file"
        )
    return text
