from __future__ import annotations

import zipfile
from email.message import Message
from email.parser import BytesParser
from pathlib import PurePosixPath

import pytest

from workspace import MEMBERS, MODULES, Member

each_member = pytest.mark.parametrize("member", MEMBERS, ids=MODULES)


def files(member: Member) -> set[str]:
    if not member.wheel.exists():
        pytest.skip(f"dist/{member.wheel.name} is missing; `uv run nox -s build` makes it")
    with zipfile.ZipFile(member.wheel) as wheel:
        return set(wheel.namelist())


def dist_info(member: Member) -> str:
    return f"{member.distribution.replace('-', '_')}-{member.version}.dist-info"


def metadata(member: Member) -> Message:
    assert files(member)
    with zipfile.ZipFile(member.wheel) as wheel:
        return BytesParser().parsebytes(wheel.read(f"{dist_info(member)}/METADATA"))


@each_member
def test_a_wheel_holds_every_file_of_its_module_and_nothing_else(member: Member) -> None:
    source = member.folder / "src"
    in_source = {
        path.relative_to(source).as_posix()
        for path in source.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    in_wheel = {name for name in files(member) if PurePosixPath(name).parts[0] != dist_info(member)}
    assert {name for name in in_wheel if not name.endswith("/")} == in_source


@each_member
def test_a_wheel_says_that_it_is_typed(member: Member) -> None:
    assert f"{member.module}/py.typed" in files(member)
    assert "Typing :: Typed" in metadata(member).get_all("Classifier", [])


@each_member
def test_a_wheel_carries_its_licence(member: Member) -> None:
    assert f"{dist_info(member)}/licenses/LICENSE" in files(member)
    assert metadata(member)["License-Expression"] == "Apache-2.0"


@each_member
def test_a_wheel_is_described_by_its_readme(member: Member) -> None:
    described = metadata(member)
    assert described["Description-Content-Type"].startswith("text/markdown")
    readme = (member.folder / "README.md").read_text(encoding="utf-8")
    description = described.get_payload(decode=True)
    assert isinstance(description, bytes)
    assert description.decode().strip() == readme.strip()
