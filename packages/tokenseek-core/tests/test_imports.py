from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator

import pytest

OURS = ("tokenseek_core", "tokenseek_common.cli")


def take_out() -> dict[str, object]:
    return {name: sys.modules.pop(name) for name in list(sys.modules) if name.startswith(OURS)}


@pytest.fixture
def imported_anew() -> Iterator[None]:
    """Our modules are imported again, and those that others hold are put back."""
    before = take_out()
    yield
    take_out()
    sys.modules.update(before)  # type: ignore[arg-type]


@pytest.mark.usefixtures("imported_anew")
def test_steps_are_compared_without_what_only_commands_need(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("rich", "tyro", "datasets", "gguf", "matplotlib"):
        monkeypatch.setitem(sys.modules, name, None)
    inspect = importlib.import_module("tokenseek_core.inspect")
    assert inspect.using.__module__ == "tokenseek_core.inspect._compare"
    with pytest.raises(ImportError, match="rich"):
        _ = inspect.profile


@pytest.mark.usefixtures("imported_anew")
def test_help_on_supported_does_not_wait_for_transformers(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    assert importlib.import_module("tokenseek_core.cli").main(["supported", "--help"]) == 0
    assert "MODEL" in capsys.readouterr().out
