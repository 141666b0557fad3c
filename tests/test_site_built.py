"""What the built site shows: `nox -s docs` builds it first."""

from __future__ import annotations

import json
import re
from pathlib import Path
from urllib.parse import unquote

import pytest

from api_surface import FROZEN
from site_pages import PAGES
from workspace import MODULES, ROOT

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


@pytest.mark.parametrize("package", MODULES)
def test_the_reference_shows_every_public_name(package: str) -> None:
    for module, names in json.loads(FROZEN.read_text(encoding="utf-8"))[package].items():
        text = (SITE / "reference" / f"{module}.html").read_text(encoding="utf-8")
        shown = set(re.findall(rf'id="{re.escape(module)}\.(\w+)"', text))
        assert set(names) - {"__version__"} <= shown


def test_the_reference_shows_the_options_of_commands() -> None:
    text = (SITE / "reference" / "commands.html").read_text(encoding="utf-8")
    assert "usage: promotion infer" in text
    assert text.count("-h, --help") == text.count("<h3")
