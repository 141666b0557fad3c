from __future__ import annotations

from pathlib import Path

import pytest

from tokenseek_common import InputError, replacing


def test_a_file_is_replaced_when_its_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text("old")
    with replacing(path) as part:
        part.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_block_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), replacing(path) as part:
        part.write_text(f"ne{part.write_text('ne') / 0}")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_stays_one_and_its_file_is_replaced(tmp_path: Path) -> None:
    path, link = tmp_path / "file", tmp_path / "link"
    path.write_text("old")
    link.symlink_to(path)
    with replacing(link) as part:
        part.write_text("new")
    assert link.is_symlink()
    assert path.read_text() == "new"


def test_a_file_whose_folder_is_missing_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "none" / "file"
    told = rf"^{path} must be writable \(No such file or directory\); make its folder or choose "
    with pytest.raises(InputError, match=told), replacing(path) as part:
        part.write_text("new")
