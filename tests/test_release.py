from __future__ import annotations

import re
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from release_check import (
    NotReadyError,
    check_bounds,
    check_changelog,
    check_contents,
    check_reproducible,
    check_tag,
    main,
    projects,
)
from workspace import ROOT

PREPARATIONS = ("actions/checkout", "actions/setup-python", "astral-sh/setup-uv")
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def reason(check: Callable[[], None]) -> str:
    with pytest.raises(NotReadyError) as caught:
        check()
    return str(caught.value)


def test_a_tag_names_the_package_and_its_version() -> None:
    check_tag("mept", "0.2.0", None)
    check_tag("mept", "0.2.0", "mept-v0.2.0")
    told = reason(lambda: check_tag("mept", "0.2.0", "mept-v0.1.0"))
    assert told == "tag (mept-v0.1.0) must be mept-v0.2.0; tag anew"


@pytest.mark.parametrize(
    ("heading", "released", "ready"),
    [
        ("[0.2.0] - 2026-11-28", True, True),
        ("[0.2.0] - 2026-11-28", False, True),
        ("[Unreleased]", False, True),
        ("[Unreleased]", True, False),
        ("[0.1.0] - 2026-11-28", False, False),
    ],
)
def test_a_changelog_begins_with_the_version_and_its_date(
    tmp_path: Path, heading: str, released: bool, ready: bool
) -> None:
    (tmp_path / "CHANGELOG.md").write_text(f"# Changelog\n\n## {heading}\n\n### Added\n\n- New.\n")
    if ready:
        check_changelog(tmp_path, "0.2.0", released=released)
    else:
        told = reason(lambda: check_changelog(tmp_path, "0.2.0", released=released))
        wanted = "## [0.2.0] - YYYY-MM-DD" + ("" if released else " or ## [Unreleased]")
        newest = heading.split("]")[0].removeprefix("[")
        assert told == (
            f"{tmp_path.name}/CHANGELOG.md ({newest}) must begin with {wanted}; say what is new"
        )


def test_bounds_must_allow_the_siblings_as_they_are() -> None:
    declared = {
        "dependencies": ["torch>=2", "tokenseek-common[cli]>=0.1,<0.2"],
        "optional-dependencies": {"plot": ["tokenseek-common[plot]>=0.1,<0.2"]},
    }
    check_bounds(declared, {"tokenseek-common": "0.1.7"})
    told = reason(lambda: check_bounds(declared, {"tokenseek-common": "0.2.0"}))
    assert told == (
        "tokenseek-common[cli]>=0.1,<0.2 must allow tokenseek-common 0.2.0; move the bound"
    )


def test_builds_that_differ_are_told(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("a.whl", "b.whl")]
    for file in files:
        file.write_bytes(b"same")
    check_reproducible(files[:1], files[1:])
    files[1].write_bytes(b"other")
    told = reason(lambda: check_reproducible(files[:1], files[1:]))
    assert told == "a.whl must be the same in every build; two of them differ"


def test_what_is_missing_or_strange_in_the_files_is_told(tmp_path: Path) -> None:
    wheel, sdist = tmp_path / "mept-1.whl", tmp_path / "mept-1.tar.gz"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name in ("mept/__init__.py", "mept-1.dist-info/METADATA", "tests/test_a.py"):
            archive.writestr(name, "")
    with tarfile.open(sdist, "w:gz") as packed:
        packed.add(wheel, "mept-1/README.md")
    assert reason(lambda: check_contents([wheel], "mept")) == (
        "mept-1.whl must hold mept alone (['mept', 'mept-1.dist-info', 'tests'] found)"
    )
    assert reason(lambda: check_contents([sdist], "mept")) == (
        "mept-1.tar.gz must hold CHANGELOG.md, LICENSE, PKG-INFO, pyproject.toml, src, tests; "
        "include it"
    )


def test_a_package_that_is_not_ready_ends_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["release_check.py", "mept", "--tag", "mept-v99"])
    assert main() == 1
    assert capsys.readouterr().err.startswith("mept is not ready: tag (mept-v99) must be mept-v")


def test_every_changelog_is_ready_for_its_version() -> None:
    for folder, declared in projects().values():
        check_changelog(folder, declared["version"], released=False)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_call_sessions_and_nothing_else(path: Path) -> None:
    """So that what they do can be done on any machine."""
    allowed = re.compile(
        r"\.ci/run|uv run nox -s .+|uv publish --trusted-publishing .+"
        r'|echo "DISTRIBUTION=\$\{GITHUB_REF_NAME%-v\*\}" >> "\$GITHUB_ENV"'
    )
    sessions = set(re.findall(r"^def (\w+)\(session", (ROOT / "noxfile.py").read_text(), re.M))
    jobs = yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"]
    for job in jobs.values():
        for step in job["steps"]:
            if "run" not in step:
                assert step["uses"].split("@")[0] in PREPARATIONS
                continue
            assert allowed.fullmatch(step["run"])
            for name in re.findall(r'nox -s "?(\w+)', step["run"]):
                assert name in sessions
        for name in job.get("strategy", {}).get("matrix", {}).get("session", []):
            assert name in sessions


def test_the_citation_names_the_three_papers() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert [reference["title"].split(":")[0] for reference in cited["references"]] == [
        "TokenSeek",
        "MEPT",
        "ProMotion",
    ]
    papers = {declared.get("urls", {}).get("Paper") for _, declared in projects().values()}
    assert len(papers - {None}) == 3
