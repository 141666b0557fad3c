from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from promotion import ProMotion
from promotion.cli import main
from promotion.io import VideoFile, VideoWriter, read_image, write_image
from promotion.video import interpolate, stabilize, track
from promotion.viz import track_overlay


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("frames")
    picture = torch.rand(3, 32, 60, generator=torch.Generator().manual_seed(0))
    for number in range(3):
        write_image(folder / f"frame{number + 9}.png", picture[..., 2 * number : 40 + 2 * number])
    return folder


def paths(frames: Path) -> list[Path]:
    return [frames / f"frame{number}.png" for number in (9, 10, 11)]


def command(name: str, output: Path, weights: Path, *options: str) -> int:
    return main([name, "-o", str(output), "--weights", str(weights), *options])


def test_tracks_are_written_and_drawn(
    tmp_path: Path, frames: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    options = ["--spacing", "16", "--tail", "1", "--json"]
    assert command("track", out, weights, str(frames), *options) == 0
    told = json.loads(capsys.readouterr().out)
    stored = np.load(out / "tracks.npz")
    model = ProMotion.from_pretrained(weights)
    points = torch.tensor([[x, y] for y in (8.0, 24.0) for x in (8.0, 24.0)])
    expected = track(model, paths(frames), points)
    assert np.array_equal(stored["positions"][0], points.numpy())
    np.testing.assert_allclose(stored["positions"], expected.positions.numpy())
    assert np.array_equal(stored["visible"], expected.visible.numpy())
    assert told["kept"] == pytest.approx(float(expected.visible[-1].float().mean()))
    image = read_image(paths(frames)[-1])
    drawn = track_overlay(image, expected.positions[1:], expected.visible[1:])
    shown = (read_image(out / "pictures" / "frame11.png") * 255).round().to(torch.uint8)
    assert shown.equal(drawn)


def test_points_are_those_that_are_named(tmp_path: Path, frames: Path, weights: Path) -> None:
    options = ["--points", "3.5,20", "39,31", "--no-viz"]
    assert command("track", tmp_path / "out", weights, str(frames), *options) == 0
    stored = np.load(tmp_path / "out" / "tracks.npz")
    assert stored["positions"][0].tolist() == [[3.5, 20], [39, 31]]
    assert not (tmp_path / "out" / "pictures").exists()


def test_frames_in_between_stand_between_their_neighbours(
    tmp_path: Path, frames: Path, weights: Path
) -> None:
    out = tmp_path / "out"
    assert command("interpolate", out, weights, str(frames), "--between", "2") == 0
    assert sorted(path.name for path in out.iterdir()) == [f"{n:06d}.png" for n in range(7)]
    first, second, third = (read_image(path) for path in paths(frames))
    for number, given in ((0, first), (3, second), (6, third)):
        assert read_image(out / f"{number:06d}.png").equal(given)
    model = ProMotion.from_pretrained(weights)
    for number, made in zip((1, 2), interpolate(model, first, second, [1 / 3, 2 / 3]), strict=True):
        apart = (read_image(out / f"{number:06d}.png") - made).abs().max()
        assert apart <= 0.5 / 255 + 1e-6


def test_steady_frames_keep_their_names(tmp_path: Path, frames: Path, weights: Path) -> None:
    out = tmp_path / "out"
    assert command("stabilize", out, weights, str(frames), "--radius", "2") == 0
    model = ProMotion.from_pretrained(weights)
    expected = stabilize(model, paths(frames), radius=2)
    for path, steady in zip(paths(frames), expected, strict=True):
        assert (read_image(out / path.name) - steady).abs().max() <= 0.5 / 255 + 1e-6


@pytest.mark.parametrize(
    ("name", "given", "options", "said"),
    [
        ("track", "none", [], "frames (none) must be a folder of frames, or a video that"),
        ("stabilize", "frames", ["--radius", "0"], "radius (0) must be at least 1"),
        ("track", "frames", ["--points", "3;4"], "points (3;4) must be two numbers, as in 120,80"),
        ("track", "frames", ["--points", "3,99"], "points (3, 99) must lie in the first frame"),
        (
            "interpolate",
            "frames",
            ["x.png", "y.png"],
            "pictures (3 given) must be two, a folder",
        ),
    ],
)
def test_what_cannot_be_done_is_told_and_nothing_is_written(
    tmp_path: Path,
    frames: Path,
    weights: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    given: str,
    options: list[str],
    said: str,
) -> None:
    place = str(frames) if given == "frames" else given
    assert command(name, tmp_path / "out", weights, place, *options) == 2
    assert said in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out").exists()


def test_what_is_made_of_a_video_is_a_video(tmp_path: Path, frames: Path, weights: Path) -> None:
    video = tmp_path / "in.mp4"
    with VideoWriter(video, fps=6) as writer:
        for path in paths(frames):
            writer.add((read_image(path) * 255).round().to(torch.uint8))
    for name, written, count, fps in (
        ("track", "tracks.mp4", 3, 6),
        ("interpolate", "interpolated.mp4", 5, 12),
        ("stabilize", "steady.mp4", 3, 6),
    ):
        out = tmp_path / name
        assert command(name, out, weights, str(video)) == 0
        made = VideoFile(out / written)
        assert (len(made), made.fps) == (count, fps)
        assert not list(out.rglob("*.png"))


def test_a_video_of_one_frame_is_refused(
    tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video = tmp_path / "in.mp4"
    with VideoWriter(video, fps=6) as writer:
        writer.add(torch.zeros(3, 32, 40, dtype=torch.uint8))
    assert command("track", tmp_path / "out", weights, str(video)) == 2
    told = " ".join(capsys.readouterr().err.split())
    assert f"frames ({video}, 1 found) must be at least two; name another" in told


def test_two_pictures_are_enough_to_interpolate(
    tmp_path: Path, frames: Path, weights: Path
) -> None:
    two = [str(path) for path in paths(frames)[:2]]
    assert command("interpolate", tmp_path / "out", weights, *two) == 0
    assert len(list((tmp_path / "out").iterdir())) == 3
