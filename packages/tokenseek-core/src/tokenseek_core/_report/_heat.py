"""A text, token by token, coloured by one of several values, which the reader chooses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_INVISIBLE = "\N{MIDDLE DOT}"  # stands for a token that adds no letter of its own


@dataclass(frozen=True)
class Heat:
    """How one token is shown.

    Args:
        text: The token.
        kept: Whether it is marked as kept.
        strengths: How strongly it is coloured under each value, from 0 to 1.
        numbers: What pointing at it tells.
    """

    text: str
    kept: bool
    strengths: Sequence[float]
    numbers: str


def heat_choice(values: Sequence[str]) -> str:
    """The values to choose from, for all texts of the page; the first one is chosen.

    Args:
        values: Their names, at most three, in the order of :attr:`Heat.strengths`.
    """
    options = "".join(
        f'<label><input type="radio" name="heat" id="heat{place}"'
        f"{' checked' if not place else ''}>{escape(name)}</label>"
        for place, name in enumerate(values)
    )
    return (
        f'<fieldset class="choice"><legend>Colour by</legend>{options}</fieldset>\n'
        '<ul class="legend"><li><b class="sample kept">kept</b>carries gradient</li>'
        '<li><span class="sample">ditched</span>does not</li></ul>\n'
    )


def heat_text(label: str, shown: Sequence[Heat]) -> str:
    """Show a text whose tokens are coloured.

    Args:
        label: What the text is, for those who cannot see it.
        shown: All of its tokens, white space included.
    """
    tokens = "".join(map(_token, shown))
    return f'<div class="tokens heat" role="group" aria-label="{escape(label)}">{tokens}</div>\n'


def readout(hint: str) -> str:
    """Where the numbers of the token that is pointed at stand, and the script that puts them there.

    Args:
        hint: What stands there before.
    """
    return f'<output class="readout">{escape(hint)}</output>\n<script>{_SCRIPT}</script>\n'


_SCRIPT = """
const readout = document.querySelector(".readout");
for (const text of document.querySelectorAll(".heat")) {
  text.addEventListener("pointerover", (event) => {
    const token = event.target.closest("[data-n]");
    if (token) readout.textContent = token.dataset.n;
  });
}
"""


def _token(heat: Heat) -> str:
    tag = "b" if heat.kept else "span"
    strengths = ";".join(f"--h{place}:{100 * s:.0f}%" for place, s in enumerate(heat.strengths))
    text = heat.text.replace("\n", "\N{RETURN SYMBOL}\n") or _INVISIBLE
    return f'<{tag} data-n="{escape(heat.numbers)}" style="{strengths}">{escape(text)}</{tag}>'
