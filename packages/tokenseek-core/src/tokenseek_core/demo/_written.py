"""A demo's two files: the page for people, the numbers for programs."""

from __future__ import annotations

import json
from pathlib import Path

from tokenseek_common.cli import fresh_folder
from tokenseek_core.demo._page import demo_page
from tokenseek_core.demo._result import DemoResult


def write_report(result: DemoResult, output: Path | None = None) -> Path:
    """Write report.html and report.json.

    Args:
        result: What a demo found.
        output: A new or empty folder; None takes the next free tokenseek-demo-001.

    Returns:
        The folder.

    Raises:
        InputError: The folder holds something, or cannot be written.
    """
    numbers = json.dumps(result.summary(), indent=2, allow_nan=False) + "\n"
    shown = demo_page(result)  # both are ready before the folder is made
    folder = fresh_folder(output, default="tokenseek-demo")
    (folder / "report.json").write_text(numbers, encoding="utf-8")
    (folder / "report.html").write_text(shown, encoding="utf-8")
    return folder
