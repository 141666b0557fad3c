"""The folder that a look leaves: numbers, a page and a picture."""

from __future__ import annotations

import json
from pathlib import Path

from tokenseek_common.cli import fresh_folder
from tokenseek_core.inspect._look import Sight
from tokenseek_core.inspect._seen_page import seen_page
from tokenseek_core.inspect._seen_picture import seen_picture


def write_sight(sight: Sight, output: Path | None = None, *, picture: bool = True) -> Path:
    """Write inspect.json, page.html and tokens.png.

    Args:
        sight: What was looked at.
        output: A new or empty folder; None takes the next free tokenseek-inspect-001.
        picture: Whether to draw tokens.png, which needs matplotlib.

    Returns:
        The folder.

    Raises:
        InputError: The folder cannot be used, or matplotlib is absent.
    """
    page = seen_page(sight)
    drawn = seen_picture(sight) if picture else None
    folder = fresh_folder(output, default="tokenseek-inspect")
    numbers = json.dumps(sight.whole(), indent=1, ensure_ascii=False)
    (folder / "inspect.json").write_text(numbers + "\n", encoding="utf-8")
    (folder / "page.html").write_text(page, encoding="utf-8")
    if drawn is not None:
        (folder / "tokens.png").write_bytes(drawn)
    return folder
