"""The options of one command, by tyro; its boxes about mistakes become one sentence."""

from __future__ import annotations

import contextlib
import difflib
import io
import re
import textwrap
from collections.abc import Callable, Sequence
from typing import TypeVar

import tyro

from tokenseek_common._errors import InputError

T = TypeVar("T")
_MARKERS = (tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff)
# In our words, where tyro's are a programmer's; what is not listed is passed on as it is.
_WORDS = (
    (
        r"Error parsing (\S+): could not convert string to float: '(.*)'",
        r"\1 (\2) must be a number",
    ),
    (r"Error parsing (\S+): invalid literal .* '(.*)'", r"\1 (\2) must be a whole number"),
    (r"Error parsing (\S+): (.*)", r"\1: \2"),
    (
        r"Missing value for argument \W*?(-*\w.*?)\W*\. Expected 1 values",
        r"\1 must be given a value",
    ),
    (r"Missing value for argument \W*?(-*\w.*?)\W*\. Expected (.*)", r"\1 must be given \2"),
    (r"invalid choice '(.*)' for argument '(.*)'\. Expected (.*)", r"\2 (\1) must be \3"),
    (r"Unrecognized options: (.*)", r"unrecognized argument \1"),
)


def parse_options(command: Callable[..., T], argv: Sequence[str], *, prog: str) -> T:
    """Read the options of one command.

    Args:
        command: A dataclass; its fields are the options, those of nested dataclasses too, without
            prefixes. A switch is ``--name``, or ``--no-name`` if it is on by default.
        argv: The arguments behind the command's name.
        prog: What was typed before them, such as ``"mept train"``.

    Returns:
        The dataclass, filled.

    Raises:
        InputError: If an option is unknown, missing or has a wrong value.
        SystemExit: With code 0, when help was asked for and has been printed.

    Example:
        >>> parse_options(CommonOptions, ["--seed", "3"], prog="mept train").seed
        3
    """
    stderr = io.StringIO()
    try:
        with contextlib.redirect_stderr(stderr):
            return tyro.cli(command, prog=prog, args=argv, config=_MARKERS)
    except SystemExit as stop:
        if not stop.code:
            raise
        # A dataclass that refuses its values says why itself.
        refusal = _refusal(stop)
        mistake = str(refusal) if refusal else _misspelt(command, argv) or _told(stderr.getvalue())
    raise InputError(mistake if refusal else f"{mistake}; see {prog} --help")


def _refusal(stop: SystemExit) -> InputError | None:
    error: BaseException | None = stop
    while error is not None and not isinstance(error, InputError):
        error = error.__context__
    return error


def _misspelt(command: Callable[..., T], argv: Sequence[str]) -> str | None:
    """The first option that the command does not have; tyro may take it for a value instead."""
    page = io.StringIO()
    with contextlib.redirect_stdout(page), contextlib.suppress(SystemExit):
        tyro.cli(command, prog="", args=["--help"], config=_MARKERS)
    known = set(re.findall(r"--[\w-]+", page.getvalue()))
    for argument in argv:
        option = argument.partition("=")[0]
        if option.startswith("--") and option.replace("_", "-") not in known:
            close = difflib.get_close_matches(option, known, n=1)
            return f"unrecognized option {option}" + (f", perhaps {close[0]}" if close else "")
    return None


def _told(box: str) -> str:
    """What a box of tyro says, without its frame, its help texts and the line about help."""
    parts: list[str] = [""]
    for line in box.splitlines()[1:]:  # the first is the title
        inside = line.strip("│╰╯").rstrip()
        if inside.strip("─- "):
            parts[-1] += f"{inside}\n"
        else:
            parts.append("")
    said = (textwrap.dedent(part).splitlines() for part in parts if part)
    heading, *lines = next(said, ["the options must be ones that the command has"])
    if heading.startswith("Missing from"):
        missing = [line.strip() for line in lines if re.match(r" {4}\S", line)]
        return f"{', '.join(missing)} must be given"
    text = " ".join([heading, *map(str.strip, lines)]).rstrip(".")
    for pattern, words in _WORDS:
        if re.fullmatch(pattern, text):
            return re.sub(pattern, words, text)
    return text
