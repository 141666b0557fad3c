from __future__ import annotations

import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from promotion.io import FileFormatError, VideoFile, VideoWriter
from tokenseek_common import InputError


def pictures(count: int, height: int, width: int) -> list[torch.Tensor]:
    """A bar that moves to the right, ten pixels at a time."""
    made = []
    for number in range(count):
        picture = torch.full((3, height, width), 40, dtype=torch.uint8)
        picture[:, :, 10 * number : 10 * number + 10] = 220
        made.append(picture)
    return made


@pytest.mark.parametrize(("height", "width"), [(32, 48), (33, 47)])
def test_pictures_come_back_as_frames(tmp_path: Path, height: int, width: int) -> None:
    path = tmp_path / "bar.mp4"
    with VideoWriter(path, fps=12.5) as writer:
        for picture in pictures(4, height, width):
            writer.add(picture)
        assert not path.exists()
    video = VideoFile(path)
    assert (len(video), video.fps) == (4, 12.5)
    for _ in range(2):  # it is read anew
        for frame, picture in zip(video, pictures(4, height, width), strict=True):
            assert frame.shape == (3, height + height % 2, width + width % 2)
            assert (frame[:, :height, :width] - picture / 255).abs().mean() < 0.03
    assert [each.name for each in tmp_path.iterdir()] == ["bar.mp4"]


def test_a_video_that_breaks_off_is_not_there(tmp_path: Path) -> None:
    def write() -> None:
        with VideoWriter(tmp_path / "bar.mp4", fps=10) as writer:
            writer.add(pictures(1, 32, 48)[0])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    assert not list(tmp_path.iterdir())


def test_what_is_no_video_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bad.mp4"
    path.write_bytes(b"no video" * 50)
    video = VideoFile(path)
    for look in (lambda: len(video), lambda: video.fps, lambda: list(iter(video))):
        with pytest.raises(FileFormatError) as caught:
            look()
        assert str(caught.value).startswith(f"{path} must be a video that ffmpeg reads (")
        assert str(caught.value).endswith("); convert it")
    with pytest.raises(InputError) as missing:
        VideoFile(tmp_path / "none.mp4")
    assert str(missing.value) == f"{tmp_path}/none.mp4 must exist; check the path"
    with pytest.raises(InputError) as other:
        VideoWriter(tmp_path / "a.avi", fps=10)
    assert str(other.value) == f"{tmp_path}/a.avi must end in .mp4; rename it"


def test_videos_without_their_reader_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(InputError) as caught:
        VideoWriter(tmp_path / "a.mp4", fps=10)
    assert str(caught.value) == (
        f"{tmp_path}/a.mp4 must be opened with PyAV, which is absent; "
        'pip install "promotion-flow[video]"'
    )


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "sound.mkv"
    av: Any = pytest.importorskip("av")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
    with pytest.raises(FileFormatError) as caught:
        len(VideoFile(path))
    assert str(caught.value) == f"{path} must hold a video stream; name another"


def test_frames_are_turned_as_the_file_says(tmp_path: Path) -> None:
    """As a phone writes them that was held upright: to be shown a quarter turn clockwise."""
    path = tmp_path / "turned.mp4"
    picture = torch.full((3, 32, 48), 40, dtype=torch.uint8)
    picture[:, :, :24] = 220  # the left half, which a clockwise quarter turn brings to the top
    with VideoWriter(path, fps=10) as writer:
        writer.add(picture)
    content = bytearray(path.read_bytes())
    matrix = content.index(b"tkhd") + 4 + 40  # behind the header's fields, in its version 0
    quarter = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30)
    assert content[matrix : matrix + 4] == struct.pack(">i", 1 << 16)
    content[matrix : matrix + 36] = quarter
    path.write_bytes(content)
    (frame,) = VideoFile(path)
    assert frame.shape == (3, 48, 32)
    assert frame[:, :20].mean() > 0.8
    assert frame[:, 28:].mean() < 0.2


def test_notes_that_are_no_text_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "bar.mp4"
    with VideoWriter(path, fps=10) as writer:
        writer.add(pictures(1, 32, 48)[0])
    content = path.read_bytes()
    assert b"Lavf" in content  # who wrote it
    path.write_bytes(content.replace(b"Lavf", b"\x8a\xffvf"))
    assert len(list(VideoFile(path))) == 1


def test_frames_of_more_pixels_than_may_be_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "bar.mp4"
    with VideoWriter(path, fps=10) as writer:
        writer.add(pictures(1, 32, 48)[0])
    monkeypatch.setattr("PIL.Image.MAX_IMAGE_PIXELS", 32 * 48 - 1)
    with pytest.raises(FileFormatError) as caught:
        list(VideoFile(path))
    assert str(caught.value).startswith(f"{path} must hold at most 1535 pixels; ")
