"""What the built site shows: `nox -s docs` builds it first."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

import pytest

from site_pages import PAGES
from workspace import ROOT

SITE = ROOT / "site"
BUILT = [SITE / page.relative_to(ROOT / "docs").with_suffix(".html") for page in PAGES]
pytestmark = pytest.mark.skipif(not SITE.exists(), reason="site/ is made by nox -s docs")


@pytest.mark.parametrize("page", BUILT, ids=lambda page: str(page.relative_to(SITE)))
def test_equations_and_links_are_whole_and_nothing_is_fetched(
    page: Path,
) -> None:
    text = page.read_text(encoding="utf-8")
    for equation in re.findall(r"<math.*?</math>", text, re.DOTALL):
        assert "\\" not in equation
    assert "klzzwxh" not in text  # where Markdown had put an escaped character
    assert "$$" not in text
    for target in re.findall(r'<(?:a|img|link|script)\b[^>]+(?:href|src)="([^"#?:]+)[#?"]', text):
        assert (page.parent / unquote(target)).exists(), target
    loaded = re.findall(r'<(?:link|script|img)[^>]+(?:href|src)="(https?://[^"]+)"', text)
    assert loaded == []


def test_the_reference_shows_defaults_and_helps_of_fields() -> None:
    pytest.importorskip("griffe")
    from docstrings import field_options

    value = "field(default=10, metadata={'help': 'rows of ' 'a layer'})"
    assert field_options(value) == {"is": "field", "default": "10", "help": "rows of a layer"}
    assert field_options("field(default_factory=list)") == {"is": "field"}
    assert field_options("10") == field_options("None") == {}
    page = (SITE / "reference" / "mept.html").read_text(encoding="utf-8")
    assert "Prompt rows in front of the tokens of every layer." in page
