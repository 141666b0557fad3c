from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image, ImageSequence
from torch import Tensor

from promotion import Motion, ProMotion, ProMotionConfig
from promotion.cli import main
from promotion.cli._animation import animate, every
from promotion.cli._infer_pictures import confidence_picture
from promotion.cli._natural import natural
from promotion.io import read_depth, read_flow, read_image, write_image
from promotion.viz import depth_picture, flow_picture, prototype_overlay, warp_overlay

NAMES = ("confidence", "depth", "flow", "occlusion", "overview", "prototypes", "warp")
PLAIN = tuple(name for name in NAMES if name not in ("confidence", "occlusion"))
SUFFIXES = ".avif, .bmp, .gif, .jpeg, .jpg, .pgm, .png, .ppm, .tif, .tiff, .webp"


def frame(path: Path, seed: int, *, height: int = 33, width: int = 50) -> Path:
    generator = torch.Generator().manual_seed(seed)
    path.parent.mkdir(exist_ok=True)
    write_image(path, torch.rand(3, height, width, generator=generator))
    return path


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    return frame(tmp_path / "a.png", 1), frame(tmp_path / "b.png", 2)


def infer(pictures: Sequence[Path], output: Path, weights: Path, *options: str) -> int:
    places = ["--output", str(output), "--weights", str(weights)]
    return main(["infer", *map(str, pictures), *places, *options])


def written(folder: Path) -> list[str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    names = {path.relative_to(folder).as_posix() for path in files}
    return sorted(names - {"infer.json", "frames.jsonl"})  # of every run


def drawn(path: Path) -> Tensor:
    return (read_image(path) * 255).round().to(torch.uint8)


def seen(motion: Motion) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    assert motion.flow is not None
    assert motion.occlusion is not None
    assert motion.assignments is not None
    return motion.flow, motion.depth, motion.occlusion, motion.assignments


def test_pair_is_written_as_predict_finds_it(
    tmp_path: Path,
    pair: tuple[Path, Path],
    weights: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "new" / "out"
    assert infer(pair, folder, weights, "--confidence") == 0
    motion = ProMotion.from_pretrained(weights).predict(*pair, confidence=True)
    flow, depth, occlusion, assignments = seen(motion)
    assert written(folder) == [
        "depth/a.pfm",
        "flow/a.flo",
        *(f"pictures/a_{name}.png" for name in NAMES),
    ]
    assert torch.equal(read_flow(folder / "flow/a.flo").flow, flow)
    assert torch.equal(read_depth(folder / "depth/a.pfm").depth, depth)

    first, second = map(read_image, pair)
    pictures = folder / "pictures"
    assert torch.equal(drawn(pictures / "a_flow.png"), flow_picture(flow))
    assert torch.equal(drawn(pictures / "a_depth.png"), depth_picture(depth, unit=""))
    assert torch.equal(drawn(pictures / "a_warp.png"), warp_overlay(first, second, flow))
    assert torch.equal(drawn(pictures / "a_prototypes.png"), prototype_overlay(assignments, first))
    assert motion.confidence is not None
    confidence = confidence_picture(motion.confidence)
    assert torch.equal(drawn(pictures / "a_confidence.png"), confidence)
    magenta = torch.tensor([255, 0, 255], dtype=torch.uint8)
    hidden = (drawn(pictures / "a_occlusion.png") == magenta[:, None, None]).all(0)
    assert torch.equal(hidden, occlusion)

    out, err = capsys.readouterr()
    length, share = flow.norm(dim=0).mean().item(), occlusion.float().mean().item()
    assert out == (
        f"{pair[0]} and {pair[1]}: mean flow {length:.3g} pixels, {share:.0%} occluded, median "
        f"depth {depth.quantile(0.5).item():.3g}; in {folder}\n"
    )
    assert err.startswith("looking 1/1 ")


def test_confidence_is_drawn_from_dark_blue_to_yellow() -> None:
    picture = confidence_picture(torch.linspace(0, 1, 48).expand(40, 48))
    assert picture[:, 39, 0].tolist() == [68, 1, 84]
    assert picture[:, 39, 47].tolist() == [253, 231, 37]
    assert picture.shape[2] > 48 + 40  # a legend


def test_one_picture_has_depth_alone(
    tmp_path: Path, pair: tuple[Path, Path], weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "out"
    assert infer(pair[:1], folder, weights) == 0
    depth = ProMotion.from_pretrained(weights).predict(pair[0]).depth
    assert torch.equal(read_depth(folder / "depth/a.pfm").depth, depth)
    pictures = [f"pictures/a_{name}.png" for name in ("depth", "overview", "prototypes")]
    assert written(folder) == ["depth/a.pfm", *pictures]
    middle = depth.quantile(0.5).item()
    assert capsys.readouterr().out == f"{pair[0]}: median depth {middle:.3g}; in {folder}\n"


def test_folder_is_gone_through_in_the_order_of_numbers(
    tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["frame2.png", "frame10.jpg", "frame11.png"]
    frames = [frame(tmp_path / "in" / name, number) for number, name in enumerate(names)]
    (tmp_path / "in" / "notes.txt").write_text("of that day")
    frame(tmp_path / "in" / ".thumbnail.png", 9, height=20)
    folder = tmp_path / "out"
    assert infer([tmp_path / "in"], folder, weights, "--json", "--confidence") == 0
    model = ProMotion.from_pretrained(weights)
    motions = list(model.predict_frames(frames, confidence=True))
    for path, motion in zip(frames, motions, strict=True):
        stored = read_depth(folder / "depth" / f"{path.stem}.pfm").depth
        assert torch.equal(stored, motion.depth)
    assert sorted(path.name for path in (folder / "flow").iterdir()) == [
        "frame10.flo",
        "frame2.flo",
    ]
    flows = [seen(motion)[0] for motion in motions[:2]]
    for path, flow in zip(frames, flows, strict=False):
        assert torch.equal(read_flow(folder / "flow" / f"{path.stem}.flo").flow, flow)
    with Image.open(folder / "flow.gif") as animation:
        assert len(list(ImageSequence.Iterator(animation))) == 2
        longest = max(flow.norm(dim=0).max().item() for flow in flows)
        _, height, width = flow_picture(flows[0], max_norm=longest).shape
        assert animation.size == (width, height)

    result = json.loads(capsys.readouterr().out)
    lengths = [flow.norm(dim=0).mean().item() for flow in flows]
    shares = [seen(motion)[2].float().mean().item() for motion in motions[:2]]
    depths = [motion.depth.quantile(0.5).item() for motion in motions]
    assert result["output"] == str(folder)
    assert result["mean_flow"] == pytest.approx(sum(lengths) / 2)
    assert result["occluded"] == pytest.approx(sum(shares) / 2)
    assert result["median_depth"] == pytest.approx(sorted(depths)[1])
    assert result["frames"][2] == {
        "image": str(frames[2]),
        "mean_flow": None,
        "longest_flow": None,
        "occluded": None,
        "median_depth": pytest.approx(depths[2]),
        "nearest": pytest.approx(motions[2].depth.min().item()),
        "farthest": pytest.approx(motions[2].depth.max().item()),
    }
    assert [each["mean_flow"] for each in result["frames"][:2]] == pytest.approx(lengths)


@pytest.mark.parametrize(
    ("form", "suffix", "step"), [("kitti", ".png", 1 / 128), ("npz", ".npz", 0)]
)
def test_flow_has_the_format_that_was_asked_for(
    tmp_path: Path, pair: tuple[Path, Path], weights: Path, form: str, suffix: str, step: float
) -> None:
    options = ["--flow", form, "--depth", "none", "--no-viz"]
    assert infer(pair, tmp_path / "out", weights, *options) == 0
    assert written(tmp_path / "out") == [f"flow/a{suffix}"]
    flow = ProMotion.from_pretrained(weights).predict(*pair).flow
    assert flow is not None
    stored = read_flow(tmp_path / "out" / "flow" / f"a{suffix}")
    assert stored.valid.all()
    torch.testing.assert_close(stored.flow, flow, atol=step, rtol=0)


@pytest.mark.parametrize(
    ("options", "scale", "step"),
    [
        (["--depth", "dpt"], None, 0),
        (["--depth", "npz"], None, 0),
        (["--depth", "png"], 256, 0.5 / 256),
        (["--depth", "png", "--depth-scale", "500"], 500, 0.5 / 500),
    ],
)
def test_depth_has_the_format_that_was_asked_for(
    tmp_path: Path,
    pair: tuple[Path, Path],
    weights: Path,
    options: list[str],
    scale: int | None,
    step: float,
) -> None:
    assert infer(pair, tmp_path / "out", weights, *options, "--flow", "none", "--no-viz") == 0
    assert written(tmp_path / "out") == [f"depth/a.{options[1]}"]
    depth = ProMotion.from_pretrained(weights).predict(*pair).depth
    stored = read_depth(tmp_path / "out" / "depth" / f"a.{options[1]}", scale=scale)
    torch.testing.assert_close(stored.depth, depth, atol=step + 1e-6, rtol=0)


def test_iterations_and_scale_of_the_pictures_are_taken_over(
    tmp_path: Path, pair: tuple[Path, Path], weights: Path
) -> None:
    folder = tmp_path / "out"
    assert infer(pair, folder, weights, "--iterations", "1", "--max-flow", "500") == 0
    model = ProMotion.from_pretrained(weights)
    flow = model.predict(*pair, iterations=1).flow
    assert flow is not None
    more = model.predict(*pair).flow
    assert more is not None
    assert not torch.equal(flow, more)
    assert torch.equal(read_flow(folder / "flow/a.flo").flow, flow)
    picture = drawn(folder / "pictures" / "a_flow.png")
    assert torch.equal(picture, flow_picture(flow, max_norm=500))


def test_half_precision_finds_about_the_same(tmp_path: Path, weights: Path) -> None:
    pair = (frame(tmp_path / "a.png", 1, width=200), frame(tmp_path / "b.png", 2, width=200))
    assert infer(pair, tmp_path / "out", weights, "--dtype", "bfloat16", "--no-viz") == 0
    depth = ProMotion.from_pretrained(weights).predict(*pair).depth
    stored = read_depth(tmp_path / "out" / "depth/a.pfm").depth
    assert not torch.equal(stored, depth)
    torch.testing.assert_close(stored, depth, rtol=0.05, atol=0.05)


def test_model_without_prototypes_has_no_picture_of_them(
    tmp_path: Path, pair: tuple[Path, Path]
) -> None:
    ProMotion(ProMotionConfig.size("nano", prototypes=0)).save_pretrained(tmp_path / "weights")
    assert infer(pair, tmp_path / "out", tmp_path / "weights") == 0
    drawn_names = [path.name for path in (tmp_path / "out" / "pictures").iterdir()]
    assert sorted(drawn_names) == [f"a_{name}.png" for name in PLAIN if name != "prototypes"]


def test_without_weights_those_of_the_package_are_loaded(
    tmp_path: Path,
    pair: tuple[Path, Path],
    weights: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, asked = ProMotion.from_pretrained(weights), []

    def from_pretrained(source: Any) -> ProMotion:
        asked.append(source)
        return model

    monkeypatch.setattr(ProMotion, "from_pretrained", from_pretrained)
    assert main(["infer", *map(str, pair), "--output", str(tmp_path / "out"), "--no-viz"]) == 0
    assert asked == [None]


def test_without_an_output_a_numbered_folder_is_made(
    tmp_path: Path,
    pair: tuple[Path, Path],
    weights: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["infer", "a.png", "--weights", str(weights), "--no-viz", "--quiet"]) == 0
    assert written(tmp_path / "promotion-infer-001") == ["depth/a.pfm"]


def test_existing_folder_is_refused(
    tmp_path: Path, pair: tuple[Path, Path], weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert infer(pair, tmp_path, weights) == 2
    assert capsys.readouterr().err == (
        f"error: output ({tmp_path}) must be an empty or new folder; choose another --output\n"
    )
    assert written(tmp_path) == ["a.png", "b.png"]


def test_without_pictures_it_takes_the_pair_of_scikit_image(
    tmp_path: Path,
    weights: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    package = tmp_path / "skimage"
    (package / "data").mkdir(parents=True)
    (package / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "skimage", raising=False)
    assert infer([], tmp_path / "out", weights) == 2
    assert capsys.readouterr().err == (
        "error: pictures (none given) must be one, two, a folder of frames, or a video; name them, "
        'or pip install "scikit-image" for its Motorcycle pair\n'
    )
    for seed, side in enumerate(("left", "right")):
        frame(package / "data" / f"motorcycle_{side}.png", seed)
    assert infer([], tmp_path / "out", weights, "--no-viz") == 0
    assert written(tmp_path / "out") == ["depth/motorcycle_left.pfm", "flow/motorcycle_left.flo"]


@pytest.mark.parametrize(
    ("pictures", "told"),
    [
        (
            ["a.png", "b.png", "a.png"],
            "pictures (3 given) must be one, two, a folder of frames, or a video; put longer "
            "sequences into a folder",
        ),
        (["a.png", "c.png"], "pictures (c.png) must exist; check the path"),
        (
            ["a.png", "empty"],
            "empty must end in one of {suffixes}; convert it or choose another name",
        ),
        (
            ["empty"],
            "pictures (empty) must hold at least two frames (0 found); frames end in {suffixes}",
        ),
        (
            ["single"],
            "pictures (single) must hold at least two frames (1 found); frames end in {suffixes}",
        ),
        (
            ["twice"],
            "pictures (twice/a.jpg and twice/a.png) must differ in more than their suffix, since "
            "results are named after them; rename or move one",
        ),
        (
            ["text.txt"],
            "text.txt must end in one of {suffixes}; convert it or choose another name",
        ),
        (
            ["text.png"],
            "text.png must be one of AVIF, BMP, GIF, JPEG, PNG, PPM, TIFF, WEBP; convert it",
        ),
        (
            ["tiny.png"],
            "tiny.png (8 x 50) must have at least 16 pixels to each side; enlarge it",
        ),
        (
            ["a.png", "wide.png"],
            "wide.png (60 x 33) must be as large as a.png (50 x 33); resize one of them",
        ),
        (
            ["mixed"],
            "mixed/c.png (60 x 33) must be as large as mixed/a.png (50 x 33); resize one of them",
        ),
    ],
)
def test_bad_pictures_are_refused_in_one_sentence(
    tmp_path: Path,
    pair: tuple[Path, Path],
    weights: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    pictures: list[str],
    told: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    for name in ("single/a.png", "twice/a.png", "twice/a.jpg", "mixed/a.png", "mixed/b.png"):
        frame(tmp_path / name, 3)
    for name in ("mixed/c.png", "wide.png"):
        frame(tmp_path / name, 4, width=60)
    frame(tmp_path / "tiny.png", 4, height=8)
    for name in ("text.txt", "text.png"):
        (tmp_path / name).write_text("no picture")
    assert infer([Path(name) for name in pictures], Path("out"), weights) == 2
    assert capsys.readouterr().err == f"error: {told.format(suffixes=SUFFIXES)}\n"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--iterations", "0"], "iterations (0) must be at least 1; choose another --iterations"),
        (
            ["--depth-scale", "0"],
            "depth_scale (0) must be above 0 and finite; choose another --depth-scale",
        ),
        (
            ["--max-flow", "nan"],
            "max_flow (nan) must be above 0 and finite; choose another --max-flow",
        ),
        (
            ["--weights", "/nowhere"],
            "weights (/nowhere) must be a folder, or the id of a model on the hub that can be "
            "reached; check the name",
        ),
        (
            ["--device", "abacus"],
            "device (abacus) must be auto, cpu or an accelerator such as "
            "cuda:0; choose another --device",
        ),
    ],
)
def test_bad_options_are_refused_in_one_sentence(
    tmp_path: Path,
    pair: tuple[Path, Path],
    weights: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    told: str,
) -> None:
    assert infer(pair, tmp_path / "out", weights, *options) == 2
    assert capsys.readouterr().err == f"error: {told}\n"
    assert not (tmp_path / "out").exists()


def test_folder_without_weights_is_refused_in_one_sentence(
    tmp_path: Path, pair: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_text('{"model_type": "llama"}')
    assert infer(pair, tmp_path / "out", other) == 2
    assert capsys.readouterr().err.startswith(
        f"error: weights ({other}) must be a folder with config.json and model.safetensors, "
    )


def test_numbers_in_names_count_as_such() -> None:
    names = ["b1", "a10", "a9", "2a", "10", "a", "a9b"]
    assert sorted(names, key=natural) == ["2a", "10", "a", "a9", "a9b", "a10", "b1"]
    assert natural(f"a{sys.maxsize}") > natural("a1")


def test_animations_are_of_modest_size(tmp_path: Path) -> None:
    assert [every(480, side) for side in (64, 640, 641, 1280, 1282)] == [1, 1, 2, 2, 3]
    pictures = [torch.zeros(3, 20, 30, dtype=torch.uint8), torch.zeros(3, 24, 28).byte()]
    animate(tmp_path / "a.gif", pictures)
    with Image.open(tmp_path / "a.gif") as animation:
        assert animation.size == (30, 24)
        corners = []
        for number in range(2):
            animation.seek(number)
            rgb = animation.convert("RGB")
            corners.append([rgb.getpixel((0, 23)), rgb.getpixel((29, 0)), rgb.getpixel((0, 0))])
    white, black = (255, 255, 255), (0, 0, 0)
    assert corners == [[white, black, black], [black, white, black]]
