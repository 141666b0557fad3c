from __future__ import annotations

import pytest

from reliability.commands import NAMES, Command, commands


@pytest.fixture(scope="session")
def every_command(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Command]:
    """The three trainings."""
    return commands(tmp_path_factory.mktemp("given"))


@pytest.fixture(params=NAMES)
def command(request: pytest.FixtureRequest, every_command: dict[str, Command]) -> Command:
    """One of the three trainings."""
    return every_command[request.param]


@pytest.fixture(scope="session")
def whole(
    every_command: dict[str, Command], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, bytes]:
    """The weights that each ends with where nothing comes between."""
    folder, found = tmp_path_factory.mktemp("whole"), {}
    for name, command in every_command.items():
        run = command.start(folder / name)
        code, told = run.wait()
        assert code == 0, told
        found[command.module] = command.result(folder / name)
    return found
