"""A text, token by token: some marked, the others told apart by what they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_INVISIBLE = "\N{MIDDLE DOT}"  # stands for a marked token that adds no letter of its own


@dataclass(frozen=True)
class Shade:
    """How one token is shown.

    Args:
        text: The token.
        faint: Show it as something that the text merely starts from.
        strength: How strongly it is marked, from 0 to 1; None leaves it unmarked.
        title: What a pointer over it tells.
    """

    text: str
    faint: bool
    strength: float | None
    title: str


def shaded_text(label: str, shown: Sequence[Shade], legend: Sequence[tuple[str, str]]) -> str:
    """Show a text with some of its tokens marked.

    Args:
        label: What the text is, for those who cannot see it.
        shown: All of its tokens, white space included.
        legend: Style ("weak", "strong", "faint" or "plain") and meaning of each entry.

    Returns:
        The legend and the text, in which each token is an element.
    """
    entries = "".join(
        f'<li><span class="sample {style}">token</span>{escape(meaning)}</li>'
        for style, meaning in legend
    )
    tokens = "".join(map(_token, shown))
    return (
        f'<ul class="legend">{entries}</ul>\n'
        f'<div class="tokens" role="group" aria-label="{escape(label)}">{tokens}</div>\n'
    )


def _token(shade: Shade) -> str:
    attributes = f' title="{escape(shade.title)}"'
    if shade.faint:
        attributes += ' class="faint"'
    if shade.strength is None:
        return f"<span{attributes}>{escape(shade.text)}</span>"
    attributes += f' style="--strength:{100 * shade.strength:.0f}%"'
    return f"<mark{attributes}>{escape(shade.text or _INVISIBLE)}</mark>"
