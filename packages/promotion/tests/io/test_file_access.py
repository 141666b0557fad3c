"""Files that are absent, out of reach or in the way; and that a file is only replaced whole."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from promotion.io import read_depth, read_flow, read_image, write_depth, write_flow, write_image
from tokenseek_common import InputError

READERS: dict[str, Callable[[Path], object]] = {
    "flo": read_flow,
    "dpt": read_depth,
    "png": read_image,
}
WRITERS: dict[str, Callable[[Path], None]] = {
    "flo": lambda path: write_flow(path, torch.zeros(2, 3, 4)),
    "dpt": lambda path: write_depth(path, torch.ones(3, 4)),
    "png": lambda path: write_image(path, torch.zeros(3, 3, 4)),
}
readers = pytest.mark.parametrize(("suffix", "read"), READERS.items(), ids=READERS)
writers = pytest.mark.parametrize(("suffix", "write"), WRITERS.items(), ids=WRITERS)


@readers
def test_a_missing_file_is_said(
    tmp_path: Path, suffix: str, read: Callable[[Path], object]
) -> None:
    path = tmp_path / f"absent.{suffix}"
    with pytest.raises(InputError) as refusal:
        read(path)
    assert str(refusal.value) == f"{path} must exist; check the path"


@readers
def test_a_folder_is_no_file(tmp_path: Path, suffix: str, read: Callable[[Path], object]) -> None:
    path = tmp_path / f"folder.{suffix}"
    path.mkdir()
    with pytest.raises(InputError) as refusal:
        read(path)
    assert str(refusal.value) == f"{path} must be a file; name one, not a folder"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with names are a matter of POSIX")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "pipe.flo"
    os.mkfifo(path)
    with pytest.raises(InputError) as refusal:
        read_flow(path)
    assert str(refusal.value) == f"{path} must be a file; name one, not a folder"


@readers
def test_an_unreadable_file_is_said(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    suffix: str,
    read: Callable[[Path], object],
) -> None:
    path = tmp_path / f"locked.{suffix}"
    path.touch()

    def refuse(self: Path, mode: str) -> None:  # root may read everything
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(InputError) as refusal:
        read(path)
    assert str(refusal.value) == (
        f"{path} must be readable (Permission denied); check the path and its permissions"
    )


def test_a_name_that_no_file_can_have_is_said() -> None:
    path = Path("a" * 5000 + ".flo")
    with pytest.raises(InputError) as refusal:
        read_flow(path)
    assert str(refusal.value) == (
        f"{path} must be readable (File name too long); check the path and its permissions"
    )


@pytest.mark.parametrize(
    ("use", "known"),
    [
        (read_flow, ".flo, .flo5, .npz, .pfm, .png"),
        (lambda path: write_flow(path, torch.zeros(2, 3, 4)), ".flo, .flo5, .npz, .pfm, .png"),
        (read_depth, ".dpt, .npz, .pfm, .png"),
        (lambda path: write_depth(path, torch.ones(3, 4)), ".dpt, .npz, .pfm, .png"),
        (read_image, ".avif, .bmp, .gif, .jpeg, .jpg, .pgm, .png, .ppm, .tif, .tiff, .webp"),
        (
            lambda path: write_image(path, torch.zeros(3, 3, 4)),
            ".bmp, .jpeg, .jpg, .png, .ppm, .tif, .tiff, .webp",
        ),
    ],
)
@pytest.mark.parametrize("name", ["file.exr", "file", ".flo", "file.flo.gz"])
def test_an_unknown_suffix_is_said(
    tmp_path: Path, use: Callable[[Path], object], known: str, name: str
) -> None:
    path = tmp_path / name
    with pytest.raises(InputError) as refusal:
        use(path)
    assert str(refusal.value) == (
        f"{path} must end in one of {known}; convert it or choose another name"
    )


@writers
def test_a_folder_that_is_absent_is_said(
    tmp_path: Path, suffix: str, write: Callable[[Path], None]
) -> None:
    path = tmp_path / "absent" / f"file.{suffix}"
    with pytest.raises(InputError) as refusal:
        write(path)
    assert str(refusal.value) == (
        f"{path} must be writable (No such file or directory); "
        "make its folder or choose another path"
    )


@writers
def test_a_file_is_no_folder_to_write_in(
    tmp_path: Path, suffix: str, write: Callable[[Path], None]
) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / "file" / f"file.{suffix}"
    with pytest.raises(InputError) as refusal:
        write(path)
    assert str(refusal.value) == (
        f"{path} must be writable (Not a directory); make its folder or choose another path"
    )


@writers
def test_a_folder_is_not_replaced(
    tmp_path: Path, suffix: str, write: Callable[[Path], None]
) -> None:
    path = tmp_path / f"folder.{suffix}"
    path.mkdir()
    with pytest.raises(InputError) as refusal:
        write(path)
    assert str(refusal.value) == (
        f"{path} must be writable (Is a directory); make its folder or choose another path"
    )
    assert list(tmp_path.iterdir()) == [path]


@writers
def test_a_file_that_is_write_protected_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, write: Callable[[Path], None]
) -> None:
    path = tmp_path / f"file.{suffix}"
    path.write_text("precious")
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write everything
    with pytest.raises(InputError) as refusal:
        write(path)
    assert str(refusal.value) == (
        f"{path} must be writable (Permission denied); make its folder or choose another path"
    )
    assert path.read_text() == "precious"


@writers
@pytest.mark.parametrize("crash", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_crash_leaves_the_old_file_and_nothing_else(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    crash: BaseException,
    suffix: str,
    write: Callable[[Path], None],
) -> None:
    path = tmp_path / f"file.{suffix}"
    write(path)
    before = path.read_bytes()

    def break_off(self: Path, content: bytes) -> None:
        with self.open("wb") as file:
            file.write(content[:5])
        raise crash

    monkeypatch.setattr(Path, "write_bytes", break_off)
    with pytest.raises((InputError, KeyboardInterrupt)):
        write(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@writers
def test_a_link_stays_one_and_what_it_points_to_is_replaced(
    tmp_path: Path, suffix: str, write: Callable[[Path], None]
) -> None:
    target, link = tmp_path / f"target.{suffix}", tmp_path / f"link.{suffix}"
    target.touch()
    link.symlink_to(target)
    write(link)
    assert link.is_symlink()
    READERS[suffix](target)


def test_new_files_have_the_permissions_of_any_other(tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    write_flow(tmp_path / "file.flo", torch.zeros(2, 3, 4))
    assert (tmp_path / "file.flo").stat().st_mode == (tmp_path / "other").stat().st_mode
