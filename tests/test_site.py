"""What the documentation's pages say is there: pages, names, commands, files, messages."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from accelerate.commands.launch import launch_command_parser
from packaging.requirements import Requirement
from torch.distributed.run import get_args_parser

import mept.cli._main
import promotion.cli._main
import tokenseek_core.cli._main
from api_surface import FROZEN
from promotion.training import read_training_config
from release_check import projects
from site_pages import DOCS, PAGES, READMES, Block, blocks, commands, navigation
from tokenseek_common import InputError
from tokenseek_common.cli import CommandPlace
from tokenseek_common.cli._parsing import parse_options
from workspace import MEMBERS, MODULES, ROOT, Member

LINES = {
    "tokenseek": tokenseek_core.cli._main.COMMANDS,
    "mept": mept.cli._main.COMMANDS,
    "promotion": promotion.cli._main.COMMANDS,
}
CONSOLES = [block for page in [*PAGES, *READMES] for block in blocks(page, "console")]
SESSIONS = set(re.findall(r"^def (\w+)\(session", (ROOT / "noxfile.py").read_text(), re.M))


def test_every_page_is_in_the_navigation_once() -> None:
    named = navigation()
    assert len(named) == len(set(named))
    there = {page.relative_to(DOCS).as_posix() for page in PAGES}
    assert sorted(there - set(named)) == [], "name them in zensical.toml, under nav"
    assert set(named) <= there


@pytest.mark.parametrize("module", MODULES)
def test_the_reference_has_every_public_module(module: str) -> None:
    for name in json.loads(FROZEN.read_text(encoding="utf-8"))[module]:
        page = DOCS / "reference" / f"{name}.md"
        assert page.read_text(encoding="utf-8") == f"# {name}\n\n::: {name}\n"


@pytest.mark.parametrize("member", MEMBERS, ids=MODULES)
def test_a_readme_is_short_and_stands_alone_on_a_package_index(member: Member) -> None:
    text = (member.folder / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) < 120
    links = re.findall(r"\]\(([^)]+)\)|<(?:a|img)\b[^>]*(?:href|src)=\"([^\"]+)\"", text)
    relative = [link for pair in links for link in pair if link and not link.startswith("https://")]
    assert relative == []


def test_the_reference_has_every_command() -> None:
    shown = [block.text.split() for block in blocks(DOCS / "reference" / "commands.md", "help")]
    there = [[name, command] for name, line in LINES.items() for command in line]
    assert shown == there, "write them in docs/reference/commands.md in this order"


def parsed(words: list[str]) -> None:
    """Raise where a command is none, or does not take its options."""
    name, *options = words
    if options[:1] in (["--help"], ["--version"]):
        return
    place = LINES[name][options[0]]
    assert isinstance(place, CommandPlace)
    parse_options(place.load(), options[1:], prog=f"{name} {options[0]}")


def installs(words: list[str]) -> None:
    """Raise where an extra of ours is none."""
    for word in words:
        name = word.split("[")[0]
        if name in projects():
            extras = projects()[name][1].get("optional-dependencies", {})
            assert Requirement(word).extras <= set(extras), word


def runs(words: list[str]) -> None:
    """Raise where a script, a module or a session is none."""
    if words[0] == "uv":
        if words[1] == "run":
            check(words[2:])
    elif words[0] == "nox":
        if "-s" in words:
            assert re.split(r"[(]", words[words.index("-s") + 1])[0] in SESSIONS
    elif words[1] != "-m":
        assert (ROOT / words[1]).exists(), words[1]


MODULES_OF = {"promotion.cli": "promotion", "tokenseek_core": "tokenseek"}


def launches(words: list[str]) -> None:
    """Raise where a launcher does not take its options, or what it is to launch is none."""
    if words[0] == "accelerate":
        given = launch_command_parser().parse_args(words[2:])
        assert given.config_file is None or (ROOT / given.config_file).exists()
    else:
        given = get_args_parser().parse_args(words[1:])
    if given.module:
        parsed([MODULES_OF[given.training_script], *given.training_script_args])
    else:
        assert (ROOT / given.training_script).exists()


CHECKS: dict[str, Callable[[list[str]], None]] = {
    **dict.fromkeys(LINES, parsed),
    **dict.fromkeys(("accelerate", "torchrun"), launches),
    **dict.fromkeys(("pip", "uvx"), installs),
    **dict.fromkeys(("python", "uv", "nox"), runs),
    **dict.fromkeys(("ls", "cd", "kill"), lambda words: None),
}


def check(words: list[str]) -> None:
    """Raise where a command cannot be given."""
    CHECKS[words[0]](words)


@pytest.mark.parametrize("block", CONSOLES, ids=lambda block: block.place)
def test_a_command_is_one_that_there_is(block: Block) -> None:
    found = list(commands(block))
    assert found
    for words in found:
        check(words)


def test_a_flag_that_a_command_lacks_is_noticed() -> None:
    with pytest.raises(InputError, match="unrecognized option --sede, perhaps --seed"):
        check(["mept", "train", "--sede", "1"])


YAML = [block for page in PAGES for block in blocks(page, "yaml")]


@pytest.mark.parametrize("block", YAML, ids=lambda block: block.place)
def test_a_config_is_read(block: Block, tmp_path: Path) -> None:
    content = yaml.safe_load(block.text)
    assert isinstance(content, dict)
    if "stages" in content:
        (tmp_path / "run.yaml").write_text(block.text)
        read_training_config(tmp_path / "run.yaml")


def options_of(name: str, command: str, capsys: pytest.CaptureFixture[str]) -> set[str]:
    place = LINES[name][command]
    assert isinstance(place, CommandPlace)
    with pytest.raises(SystemExit):
        parse_options(place.load(), ["--help"], prog=name)
    return set(re.findall(r"--[a-z][\w-]*", capsys.readouterr().out))


def test_options_that_pages_name_are_of_some_command(capsys: pytest.CaptureFixture[str]) -> None:
    known = {"--help", "--version", "--model_args"}  # the last is of lm_eval
    for name, line in LINES.items():
        for command in line:
            known |= options_of(name, command, capsys)
    for page in [*(page for page in PAGES if page.parent == DOCS), *READMES]:
        text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
        for code in re.findall(r"`([^`\n]+)`", text):
            if code.startswith(("--", "tokenseek ", "mept ", "promotion ")):
                for flag in re.findall(r"(?<!\S)--[a-z][\w-]*", code):
                    assert flag in known, f"{page.name}: {flag}"
