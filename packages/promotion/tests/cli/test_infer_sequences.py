"""`promotion infer` on folders and videos: one scale, a video of the flow, runs that go on."""

from __future__ import annotations

import gc
import json
import shutil
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image, ImageSequence
from torch import Tensor

from promotion import Motion, ProMotion
from promotion._seen import SeenPicture
from promotion.cli import _animation, _infer_drawing, _motion_files, main
from promotion.cli._infer_run import InferRun
from promotion.cli._motion_files import MotionFiles
from promotion.io import VideoFile, VideoWriter, read_flow, read_image, write_image
from promotion.viz import flow_picture, grid

COUNT = 4


def pictures() -> list[Tensor]:
    """A smooth picture that moves by one pixel, then by two, and by three."""
    noise = torch.rand(1, 3, 8, 14, generator=torch.Generator().manual_seed(0))
    whole = torch.nn.functional.interpolate(noise, (32, 60), mode="bicubic")[0].clamp(0, 1)
    return [whole[..., place : place + 48] for place in (0, 1, 3, 6)]


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("frames")
    for number, picture in enumerate(pictures()):
        write_image(folder / f"frame{number}.png", picture)
    return folder


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video") / "in.mp4"
    with VideoWriter(path, fps=6) as writer:
        for picture in pictures():
            writer.add((picture * 255).round().to(torch.uint8))
    return path


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, frames: Path, weights: Path) -> Path:
    """What a run that nothing interrupts writes."""
    folder = tmp_path_factory.mktemp("whole") / "out"
    assert infer(frames, folder, weights, "--confidence") == 0
    return folder


def infer(source: Path, output: Path, weights: Path, *options: str) -> int:
    return main(["infer", str(source), "-o", str(output), "--weights", str(weights), *options])


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_pictures_and_gif_are_drawn_in_the_scale_that_viz_finds(
    tmp_path: Path, whole: Path
) -> None:
    for kind in ("flow", "depth"):
        assert main(["viz", str(whole / kind), "-o", str(tmp_path / kind)]) == 0
        drawn = sorted((tmp_path / kind).glob("*.png"))
        assert len(drawn) == (COUNT - 1 if kind == "flow" else COUNT)
        for path in drawn:
            assert read_image(path).equal(read_image(whole / "pictures" / path.name))
    ours, its = whole / "flow.gif", tmp_path / "flow" / "flow.gif"
    assert ours.read_bytes() == its.read_bytes()


def test_what_kitti_rounds_is_drawn_as_it_is_stored(
    tmp_path: Path, frames: Path, weights: Path
) -> None:
    out = tmp_path / "out"
    assert infer(frames, out, weights, "--flow", "kitti", "--depth", "none") == 0
    assert main(["viz", str(out / "flow"), "-o", str(tmp_path / "viz")]) == 0
    for path in (tmp_path / "viz").glob("*.png"):
        assert read_image(path).equal(read_image(out / "pictures" / path.name))


def test_animations_have_a_hundred_frames_at_most(
    tmp_path: Path, frames: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(_animation.sparse(range(100))) == 100
    assert list(_animation.sparse(range(201)))[:3] == [0, 3, 6]
    monkeypatch.setattr(_animation, "MOST_FRAMES", 2)
    assert infer(frames, tmp_path / "out", weights) == 0
    assert main(["viz", str(tmp_path / "out" / "flow"), "-o", str(tmp_path / "viz")]) == 0
    for folder in ("out", "viz"):
        with Image.open(tmp_path / folder / "flow.gif") as animation:
            assert len(list(ImageSequence.Iterator(animation))) == 2


def test_of_a_video_the_flow_is_shown_beside_the_frames(
    tmp_path: Path, video: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert infer(video, out, weights, "--json") == 0
    assert contents(out).keys() == {"flow.mp4", "infer.json", "frames.jsonl"}
    flows = [
        motion.flow
        for motion in ProMotion.from_pretrained(weights).predict_frames(VideoFile(video))
        if motion.flow is not None
    ]
    longest = max(float(flow.norm(dim=0).max()) for flow in flows)
    found = json.loads(capsys.readouterr().out)["frames"]
    assert [each["image"] for each in found] == [f"{number:06d}" for number in range(COUNT)]
    assert max(each["longest_flow"] or 0 for each in found) == pytest.approx(longest)

    made = VideoFile(out / "flow.mp4")
    assert (len(made), made.fps) == (COUNT - 1, 6)
    for number, (shown, flow, image) in enumerate(zip(made, flows, VideoFile(video), strict=False)):
        frame = (image * 255).round().to(torch.uint8)
        drawn = grid(
            [frame, flow_picture(flow, max_norm=longest)], [f"{number:06d}", "flow"], columns=2
        )
        height, width = drawn.shape[1:]
        assert (shown[:, :height, :width] - drawn / 255).abs().mean() < 0.03


def test_frames_of_a_folder_become_a_video_and_those_of_a_video_pictures(
    tmp_path: Path, frames: Path, video: Path, weights: Path
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    assert infer(frames, first, weights, "--draw", "video", "--fps", "3") == 0
    assert VideoFile(first / "flow.mp4").fps == 3
    assert not (first / "pictures").exists()
    assert infer(video, second, weights, "--draw", "pictures", "--flow", "npz") == 0
    names = [path.name for path in sorted((second / "pictures").glob("*_flow.png"))]
    assert names == [f"{number:06d}_flow.png" for number in range(COUNT - 1)]
    assert not (second / "depth").exists()
    flow = read_flow(second / "flow" / "000000.npz").flow
    expected = next(ProMotion.from_pretrained(weights).predict_frames(VideoFile(video))).flow
    assert expected is not None
    assert flow.equal(expected)


def test_wide_frames_are_shown_smaller_in_a_video(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch, frames: Path
) -> None:
    for module in (_infer_drawing, _motion_files):
        monkeypatch.setattr(module, "VIDEO_SIDE", 24)
    sizes = []
    for name, options in (("kept", ["--flow", "none"]), ("written", [])):
        out = tmp_path / name
        assert infer(frames, out, weights, "--draw", "video", *options) == 0
        sizes.append(next(iter(VideoFile(out / "flow.mp4"))))
    assert sizes[0].equal(sizes[1])
    assert sizes[0].shape[2] < 24 * 2 + 200  # a legend is beside both


def interrupt(place: str, after: int) -> Callable[[], Any]:
    """What raises as Ctrl-C does, after so many calls."""
    module, name = {
        "looked": (InferRun, "add"),
        "found": (MotionFiles, "write"),
        "drawn": (_infer_drawing, "save_picture"),
        "shown": (_infer_drawing, "animate"),
        "forgotten": (MotionFiles, "forget"),
    }[place]
    as_it_is, calls = getattr(module, name), [0]

    def until_then(*given: Any, **named: Any) -> Any:
        if calls[0] == after:
            raise KeyboardInterrupt
        calls[0] += 1
        return as_it_is(*given, **named)

    return lambda: (module, name, until_then)


@pytest.mark.parametrize(
    ("place", "after"),
    [
        ("looked", 0),
        ("looked", 2),  # files are there, and the journal does not say so
        ("found", 1),
        ("found", 3),  # the last frame alone is left
        ("drawn", 5),
        ("shown", 0),
        ("forgotten", 0),
    ],
)
def test_an_interrupted_run_goes_on_where_it_stopped(
    tmp_path: Path,
    frames: Path,
    weights: Path,
    whole: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    place: str,
    after: int,
) -> None:
    out = tmp_path / "out"
    with monkeypatch.context() as patched:
        patched.setattr(*interrupt(place, after)())
        assert infer(frames, out, weights, "--confidence") == 130
    told = f"error: interrupted; --resume -o {out} goes on with it\n"
    if place != "forgotten":  # when all is there
        assert capsys.readouterr().err.endswith(told)
    journal = out / "frames.jsonl"
    done = len(journal.read_text().splitlines()) if journal.exists() else 0
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.p[nf][gm]")}
    looked: list[str] = []

    def writes(self: MotionFiles, name: str, motion: Motion) -> None:
        looked.append(name)
        as_it_is(self, name, motion)

    as_it_is = MotionFiles.write
    monkeypatch.setattr(MotionFiles, "write", writes)
    assert infer(frames, out, weights, "--confidence", "--resume") == 0
    assert looked == [f"frame{number}" for number in range(done, COUNT)]
    assert contents(out) == contents(whole)
    kept = [path for path, changed in before.items() if path.stat().st_mtime_ns == changed]
    assert len(kept) >= (8 if place == "shown" else 0)


def test_a_line_that_was_being_written_is_looked_at_again(
    tmp_path: Path, frames: Path, weights: Path, whole: Path
) -> None:
    out = tmp_path / "out"
    shutil.copytree(whole, out)
    journal = out / "frames.jsonl"
    first, second, *_ = journal.read_text().splitlines(keepends=True)
    journal.write_text(first + second[:20])
    assert infer(frames, out, weights, "--confidence", "--resume") == 0
    assert journal.read_bytes() == (whole / "frames.jsonl").read_bytes()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (
            [],
            "output ({out}) must be an empty or new folder, and holds a run; go on with it by "
            "--resume, or choose another --output",
        ),
        (
            ["--resume", "--confidence", "--iterations", "2"],
            "iterations (2) must be None, as in the run that is resumed; repeat its options, or "
            "start anew in another --output",
        ),
        (
            ["--resume", "--confidence", "-o", "{tmp}"],
            "output ({tmp}) must be the folder of a run, with its infer.json; check --output, or "
            "leave out --resume",
        ),
    ],
)
def test_another_run_is_not_gone_on_with(
    tmp_path: Path,
    frames: Path,
    weights: Path,
    whole: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    told: str,
) -> None:
    before = contents(whole)
    given = [option.format(tmp=tmp_path) for option in options]
    assert infer(frames, whole, weights, *given) == 2
    assert capsys.readouterr().err == f"error: {told.format(out=whole, tmp=tmp_path)}\n"
    assert contents(whole) == before


def test_to_go_on_the_folder_must_be_named(
    frames: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["infer", str(frames), "--weights", str(weights), "--resume"]) == 2
    assert capsys.readouterr().err == (
        "error: output (None) must be given with --resume; name the folder of the run\n"
    )


def test_one_picture_makes_no_video(
    tmp_path: Path, frames: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert infer(frames / "frame0.png", tmp_path / "out", weights, "--draw", "video") == 2
    assert capsys.readouterr().err == (
        "error: draw (video) must be of two frames at least; choose --draw pictures\n"
    )


def test_two_frames_are_in_memory_however_many_there_are(
    tmp_path: Path, video: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive: weakref.WeakSet[SeenPicture] = weakref.WeakSet()
    most = [0]

    class Counted(SeenPicture):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            gc.collect()
            alive.add(self)
            most[0] = max(most[0], len(alive))

    monkeypatch.setattr("promotion._model.SeenPicture", Counted)
    assert infer(video, tmp_path / "out", weights) == 0
    assert most[0] == 3  # two, and the next while it takes the place of the first


def test_a_video_that_lists_more_frames_than_it_has_is_told(
    tmp_path: Path,
    video: Path,
    weights: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    every = VideoFile.__iter__

    def fewer(self: VideoFile) -> Iterator[Tensor]:
        frames = every(self)
        for _ in range(2):
            yield next(frames)

    monkeypatch.setattr(VideoFile, "__iter__", fewer)
    assert infer(video, tmp_path / "out", weights) == 2
    told = f"error: {video} must hold the 4 frames that it lists (2 found); convert it\n"
    assert capsys.readouterr().err.endswith(told)
