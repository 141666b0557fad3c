"""The pages of the documentation, and what stands in them."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from workspace import MEMBERS, ROOT

DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
READMES = [ROOT / "README.md", *(member.folder / "README.md" for member in MEMBERS)]
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """One block of code."""

    page: Path
    line: int
    language: str
    text: str

    @property
    def place(self) -> str:
        """Where it begins, for a reader."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path, language: str) -> list[Block]:
    """Give a page's blocks of one language."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(page, text[: found.start()].count("\n") + 1, found[1], found[2])
        for found in FENCE.finditer(text)
        if found[1] == language
    ]


def commands(block: Block) -> Iterator[list[str]]:
    """Give the words of each command of a console block, without variables and comments."""
    lines = block.text.replace("\\\n", " ").splitlines()
    for line in lines:
        if line.startswith("$ "):
            words = shlex.split(line.removeprefix("$ "), comments=True)
            while words:
                end = words.index("&&") if "&&" in words else len(words)
                command, words = words[:end], words[end + 1 :]
                yield [word for word in command if not re.fullmatch(r"[A-Z_]+=\S*", word)]


def navigation() -> list[str]:
    """Give the pages that the navigation names."""

    def names(entry: Any) -> Iterator[str]:
        if isinstance(entry, str):
            yield entry
        else:
            for inner in entry.values() if isinstance(entry, dict) else entry:
                yield from names(inner)

    site = tomllib.loads((ROOT / "zensical.toml").read_text(encoding="utf-8"))
    return list(names(site["project"]["nav"]))
