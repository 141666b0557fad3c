"""The options of a command on a page: what its `--help` tells, as zensical.toml says."""

from __future__ import annotations

import contextlib
import html
import importlib
import io
import re
from typing import Any

MODULES = {"tokenseek": "tokenseek_core", "mept": "mept", "promotion": "promotion"}


def help_of(name: str, command: str) -> str:
    """What `<name> <command> --help` prints, without colours and blank ends of lines."""
    page = io.StringIO()
    with contextlib.redirect_stdout(page):
        importlib.import_module(f"{MODULES[name]}.cli").main([command, "--help"])
    plain = re.sub(r"\x1b\[[0-9;]*m", "", page.getvalue())
    return "\n".join(line.rstrip() for line in plain.strip().splitlines())


def fence(source: str, language: str, css_class: str, *_: Any, **__: Any) -> str:
    """Show the help of the command that a block of code names."""
    told = html.escape(help_of(*source.split()))
    return f'<div class="language-text highlight"><pre><code>{told}</code></pre></div>'
