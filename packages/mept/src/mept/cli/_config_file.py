"""Options of a command from a YAML file, as if they stood on the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml

from tokenseek_common import InputError

CONFIG = "--config"
_SAME = {"--lr": "--learning-rate", "--max-steps": "--steps", "-o": "--output"}


def with_config(argv: Sequence[str]) -> list[str]:
    """Put the options of the file that ``--config`` names in front of the others.

    Args:
        argv: A command and its options. Those that are given there replace those of the file.

    Returns:
        The command, the options of the file, and the given ones.

    Raises:
        InputError: The file cannot be read, or holds no names of options with their values.

    Example:
        >>> with_config(["train", "--config", "configs/mept-t5-base.yaml", "--seed", "1"])
    """
    given = [argument.partition("=")[0] for argument in argv]
    if CONFIG not in given:
        return list(argv)
    place = given.index(CONFIG)
    inline = argv[place].partition("=")[2]
    name = inline or next(iter(argv[place + 1 :]), "")
    content = _read(Path(name).expanduser(), name)
    known = {_SAME.get(option, option).replace("--no-", "--").replace("_", "-") for option in given}
    from mept.cli._train_options import TrainOptions  # which takes a while

    usual = {field.name: field.default for field in fields(TrainOptions)}
    options: list[str] = []
    for field, value in content.items():
        option = f"--{field}".replace("_", "-")
        is_usual = isinstance(value, bool) and value is usual.get(field.replace("-", "_"))
        if option not in known and value is not None and not is_usual:
            options += _option(option, value)
    return [*argv[:1], *options, *argv[1:]]


def _read(path: Path, name: str) -> Mapping[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"config ({name}) must be a readable file; check the path") from error
    except yaml.YAMLError as error:
        said = " ".join(str(error).split())
        raise InputError(f"config ({name}) must be YAML ({said}); mend that line") from error
    if not isinstance(content, Mapping) or not all(isinstance(field, str) for field in content):
        raise InputError(
            f"config ({name}) must hold names of options with their values; write one a line, such "
            "as `steps: 100`"
        )
    return content


def _option(option: str, value: Any) -> list[str]:
    if isinstance(value, bool):
        return [option if value else option.replace("--", "--no-", 1)]
    return [option, *map(str, value if isinstance(value, list) else [value])]
