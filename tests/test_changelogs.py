from __future__ import annotations

import datetime
import re

import pytest

from changelog import UNRELEASED, Release, read_changelog
from workspace import MEMBERS, MODULES, Member

HEAD = "# Changelog\n\n"
TWO = """# Changelog

Words.

## [Unreleased]

### Added

- One
  in two lines.
- Two.

## [0.1.0] - 2026-11-28

### Fixed

- Three.
"""


@pytest.mark.parametrize("member", MEMBERS, ids=MODULES)
def test_a_changelog_is_in_the_form_of_keep_a_changelog(member: Member) -> None:
    newest, *_ = read_changelog((member.folder / "CHANGELOG.md").read_text(encoding="utf-8"))
    assert newest.version in (UNRELEASED, member.version)
    assert newest.changes


def test_versions_kinds_and_entries_are_read() -> None:
    assert read_changelog(TWO) == [
        Release(UNRELEASED, None, {"Added": ["One in two lines.", "Two."]}),
        Release("0.1.0", datetime.date(2026, 11, 28), {"Fixed": ["Three."]}),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("# News\n", "line 1 must be # Changelog"),
        (HEAD, "a version must be there; begin with ## [Unreleased]"),
        (HEAD + "## 0.1.0\n", "line 3 (## 0.1.0) must be ## [<version>] - <date>"),
        (TWO + "\n## [Unreleased]\n", "line 19 (## [Unreleased]) must be ## [<version>] - <date>"),
        (HEAD + "## [Unreleased]\n- New.\n", "line 4 (- New.) must stand under one of ('Added', "),
        (HEAD + "## [Unreleased]\n### New\n", "line 4 (### New) must be one of ('Added', "),
        (TWO + "### Fixed\n", "line 18 (### Fixed) must be one of ('Added', "),
        (TWO + "Words.\n", "line 18 (Words.) must be an entry: - what is new"),
        (TWO + "### Added\n", "Added of 0.1.0 must have an entry; take it away"),
        (
            TWO + "\n## [0.2.0] - 2026-11-29\n\n### Added\n\n- Four.\n",
            "the newest version must come first",
        ),
    ],
)
def test_what_is_not_of_the_form_is_told_with_its_line(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        read_changelog(text)
