"""The result of a command, as the file that it writes where a folder was named."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenseek_common import replacing
from tokenseek_common.cli import fresh_folder


def write_result(output: Path | None, command: str, result: Mapping[str, Any]) -> None:
    """Write `<command>.json` to a new folder; without one, nothing.

    Raises:
        InputError: The folder holds something, or cannot be written.
    """
    if output is None:
        return
    folder = fresh_folder(output, default=f"tokenseek-{command}")
    with replacing(folder / f"{command}.json") as part:
        part.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
