from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from reliability.commands import Command

pytestmark = [pytest.mark.reliability]


def mounted(folder: Path, *options: str) -> bool:
    """Mount memory of a size as a disk, or change it, where this user may."""
    command = ["mount", "-t", "tmpfs", "-o", ",".join(options), "none", str(folder)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if not mounted(folder, "size=64m"):
        pytest.skip("only root may mount a disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def bytes_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("share", [0.15, 0.5, 0.8])
def test_a_full_disk_ends_a_run_in_a_sentence_and_it_goes_on_when_there_is_room(
    command: Command, whole: dict[str, bytes], disk: Path, share: float
) -> None:
    output = disk / "run"
    command.start(output).wait()
    room = bytes_of(output)
    subprocess.run(["rm", "-r", str(output)], check=True)
    assert mounted(disk, "remount", f"size={int(share * room) // 4096 * 4096 + 8192}")
    code, told = command.start(output).wait()
    assert code in (1, 2), told
    errors = [line for line in told.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, told
    assert "Traceback" not in told
    assert "must be writable" in errors[0]
    assert str(output) in errors[0]
    assert mounted(disk, "remount", "size=64m")
    code, told = command.start(output, "--resume").wait()
    if command.newest(output) == 0 or code == 2:
        assert code == 2, told
    else:
        assert code == 0, told
        assert command.result(output) == whole[command.module]


def test_a_disk_that_may_not_be_written_is_refused_before_anything_starts(
    command: Command, disk: Path
) -> None:
    assert mounted(disk, "remount", "ro")
    code, told = command.start(disk / "run").wait()
    assert code == 2
    assert told.splitlines()[-1].startswith(f"error: output ({disk / 'run'}) must be writable")
