from __future__ import annotations

import pytest
from packaging.version import Version

from changelog import read_changelog
from deprecations import Deprecation, deprecations
from site_pages import DOCS, blocks
from workspace import MEMBERS, MODULES, Member

TOLD = "old is deprecated and goes with 0.3; use new"


@pytest.mark.parametrize("member", MEMBERS, ids=MODULES)
def test_what_is_to_go_has_time_left_and_is_in_the_changelog(member: Member) -> None:
    text = (member.folder / "CHANGELOG.md").read_text(encoding="utf-8")
    releases = read_changelog(text)
    told = " ".join(line for each in releases for line in each.changes.get("Deprecated", []))
    for path in (member.folder / "src").rglob("*.py"):
        for found in deprecations(path.read_text(encoding="utf-8")):
            assert found.goes_with > Version(member.version), f"{found.name} must go now"
            assert f"`{found.name}`" in told


@pytest.mark.parametrize(
    "source",
    [
        f"@deprecated({TOLD!r})\ndef old(): ...",
        f"warnings.warn({TOLD!r}, DeprecationWarning, stacklevel=2)",
        f"warnings.warn({TOLD!r}, category=FutureWarning)",
    ],
)
def test_a_deprecation_is_found_with_its_version(source: str) -> None:
    assert list(deprecations(source)) == [Deprecation("old", Version("0.3"))]


def test_other_warnings_deprecate_nothing() -> None:
    assert list(deprecations("warnings.warn('cold', UserWarning)\nprint('deprecated')")) == []


@pytest.mark.parametrize("told", ["'old is deprecated'", "text", "f'{old} goes with 0.3; use new'"])
def test_a_deprecation_without_its_version_is_refused(told: str) -> None:
    with pytest.raises(ValueError, match="must be <name> is deprecated and goes with <version>"):
        list(deprecations(f"warnings.warn({told}, DeprecationWarning)"))


def test_the_policy_shows_the_form() -> None:
    (shown,) = blocks(DOCS / "policy.md", "python")
    assert [found.name for found in deprecations(shown.text)] == ["score_all"]
