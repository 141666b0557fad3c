from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from promotion.viz import save_animation, save_picture
from tokenseek_common import InputError


def frames(count: int) -> list[Tensor]:
    """Plain frames of different colours, which GIF keeps exactly."""
    levels = torch.arange(count, dtype=torch.uint8) * 40
    return [level.expand(3, 6, 8) for level in levels]


def test_picture_is_written_as_png_into_a_folder_that_is_made(tmp_path: Path) -> None:
    picture = torch.randint(0, 256, (3, 5, 7), dtype=torch.uint8)
    path = tmp_path / "new" / "picture.PNG"

    save_picture(path, picture)

    with Image.open(path) as image:
        assert image.format == "PNG"
        assert np.array_equal(np.array(image), picture.permute(1, 2, 0).numpy())


def test_animation_has_every_frame_for_its_time_and_repeats(tmp_path: Path) -> None:
    path = tmp_path / "new" / "animation.gif"
    pictures = frames(3)

    save_animation(str(path), pictures, fps=4.0)

    with Image.open(path) as image:
        assert (image.format, getattr(image, "n_frames", 1)) == ("GIF", 3)
        assert (image.size, image.info["loop"]) == ((8, 6), 0)
        for index, picture in enumerate(pictures):
            image.seek(index)
            assert image.info["duration"] == 250
            shown = np.array(image.convert("RGB"))
            assert np.array_equal(shown, picture.permute(1, 2, 0).numpy())


@pytest.mark.parametrize(("fps", "milliseconds"), [(50.0, 20), (30.0, 30), (0.01, 100_000)])
def test_frame_times_are_whole_hundredths_of_a_second(
    tmp_path: Path, fps: float, milliseconds: int
) -> None:
    save_animation(tmp_path / "animation.gif", frames(2), fps=fps)
    with Image.open(tmp_path / "animation.gif") as image:
        assert image.info["duration"] == milliseconds


@pytest.mark.parametrize("fps", [0.0, 60.0])
def test_rates_that_viewers_cannot_show_are_refused(tmp_path: Path, fps: float) -> None:
    with pytest.raises(InputError) as refused:
        save_animation(tmp_path / "animation.gif", frames(2), fps=fps)
    assert str(refused.value) == (
        f"fps ({fps:g}) must be from 0.01 to 50, which viewers of GIF can show; "
        "leave pictures out to go faster"
    )


def test_an_animation_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError) as refused:
        save_animation(tmp_path / "animation.gif", [], fps=4.0)
    assert str(refused.value) == (
        "pictures (none) must be at least one, and all of one size; "
        "colour them by one scale, so that their legends are alike"
    )


def test_an_animation_of_several_sizes_is_refused(tmp_path: Path) -> None:
    pictures = [*frames(2), torch.zeros(3, 2, 3, dtype=torch.uint8)]
    with pytest.raises(InputError) as refused:
        save_animation(tmp_path / "animation.gif", pictures, fps=4.0)
    assert str(refused.value) == (
        "pictures (3x2, 8x6) must be at least one, and all of one size; "
        "colour them by one scale, so that their legends are alike"
    )


def test_a_path_with_another_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError) as refused:
        save_picture(tmp_path / "new" / "picture.jpg", frames(1)[0])
    assert str(refused.value) == (
        f"path ({tmp_path / 'new' / 'picture.jpg'}) must end in .png; rename the file"
    )
    with pytest.raises(InputError) as refused:
        save_animation(tmp_path / "new" / "animation.mp4", frames(1), fps=4.0)
    assert str(refused.value) == (
        f"path ({tmp_path / 'new' / 'animation.mp4'}) must end in .gif; rename the file"
    )
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("suffix", [".png", ".gif"])
def test_a_full_disk_is_told_with_the_name_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    def full(image: Image.Image, path: Path, **_: object) -> None:
        path.write_bytes(b"the begin")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    path, picture = tmp_path / f"a{suffix}", torch.zeros(3, 4, 5, dtype=torch.uint8)
    save = {".png": save_picture, ".gif": lambda *_: save_animation(path, [picture], fps=8)}[suffix]
    with pytest.raises(InputError) as error:
        save(path, picture)
    assert str(error.value) == (
        f"{path} must be writable (No space left on device); make its folder or choose another path"
    )
    assert list(tmp_path.iterdir()) == []
