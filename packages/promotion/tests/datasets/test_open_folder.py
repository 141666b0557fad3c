from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch

from folder_trees import (
    chairs,
    kitti_tree,
    level_of,
    refusal,
    tum_tree,
    write_distance,
    write_frame,
)
from promotion.datasets import Sample, flying_things, open_folder
from promotion.datasets._open import LAYOUTS, LayoutName
from promotion.io import write_depth, write_flow, write_image
from promotion.io._png16 import encode_png16
from promotion.scenes import SceneConfig, render_scene

SCENE = render_scene(SceneConfig(height=24, width=32), seed=3)


def placed(path: Path) -> Path:
    """A path whose folder is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def pictures(first: Path, second: Path) -> None:
    write_image(placed(first), SCENE.image1)
    write_image(placed(second), SCENE.image2)


def flying_chairs_tree(folder: Path) -> None:
    pictures(folder / "00001_img1.ppm", folder / "00001_img2.ppm")
    write_flow(folder / "00001_flow.flo", SCENE.flow)


def flying_things_tree(folder: Path, render: str = "cleanpass") -> None:
    frames = folder / f"frames_{render}" / "TRAIN" / "A" / "0000" / "left"
    flows = folder / "optical_flow" / "TRAIN" / "A" / "0000" / "into_future" / "left"
    pictures(frames / "0006.png", frames / "0007.png")
    write_flow(placed(flows / "OpticalFlowIntoFuture_0006_L.pfm"), SCENE.flow)
    write_flow(flows / "OpticalFlowIntoFuture_0007_L.pfm", 0 * SCENE.flow)  # leads to no frame


def flying_things_final_tree(folder: Path) -> None:
    flying_things_tree(folder, "finalpass")


def sintel_tree(folder: Path, render: str = "clean") -> None:
    frames = folder / render / "alley_1"
    pictures(frames / "frame_0001.png", frames / "frame_0002.png")
    write_flow(placed(folder / "flow" / "alley_1" / "frame_0001.flo"), SCENE.flow)
    write_depth(placed(folder / "depth" / "alley_1" / "frame_0001.dpt"), SCENE.depth1)
    mask = SCENE.occlusion.float().expand(3, -1, -1)
    write_image(placed(folder / "occlusions" / "alley_1" / "frame_0001.png"), mask)


def sintel_final_tree(folder: Path) -> None:
    sintel_tree(folder, "final")


def kitti_2012_tree(folder: Path, camera: str = "colored_0") -> None:
    pictures(folder / camera / "000000_10.png", folder / camera / "000000_11.png")
    write_flow(placed(folder / "flow_occ" / "000000_10.png"), SCENE.flow)
    write_flow(placed(folder / "flow_noc" / "000000_10.png"), SCENE.flow, ~SCENE.occlusion)


def kitti_2015_tree(folder: Path) -> None:
    kitti_2012_tree(folder, "image_2")


def hd1k_tree(folder: Path) -> None:
    frames = folder / "hd1k_input" / "image_2"
    pictures(frames / "000002_0010.png", frames / "000002_0011.png")
    flows = folder / "hd1k_flow_gt" / "flow_occ"
    write_flow(placed(flows / "000002_0010.png"), SCENE.flow)
    write_flow(flows / "000002_0011.png", 0 * SCENE.flow)  # leads to no frame


def spring_tree(folder: Path) -> None:
    frames = folder / "0001" / "frame_left"
    pictures(frames / "frame_left_0001.png", frames / "frame_left_0002.png")
    twice = SCENE.flow.repeat_interleave(2, 1).repeat_interleave(2, 2)
    twice[:, 1::2, 1::2] = 7  # between the pixels of the frame
    write_flow(placed(folder / "0001" / "flow_FW_left" / "flow_FW_left_0001.flo5"), twice)


def virtual_kitti_tree(folder: Path) -> None:
    frames = folder / "Scene01" / "clone" / "frames"
    images = frames / "rgb" / "Camera_0"
    pictures(images / "rgb_00000.jpg", images / "rgb_00001.jpg")
    size = torch.tensor([31.0, 23])[:, None, None]
    stored = ((SCENE.flow / size + 1) / 2 * 65535).round()
    stored = torch.cat([stored, torch.ones(1, 24, 32)]).permute(1, 2, 0)
    png = encode_png16(stored.numpy().astype(np.uint16))
    placed(frames / "forwardFlow" / "Camera_0" / "flow_00000.png").write_bytes(png)
    write_depth(placed(frames / "depth/Camera_0/depth_00000.png"), SCENE.depth1, scale=100)


def middlebury_flow_tree(folder: Path) -> None:
    frames = folder / "other-data" / "Grove2"
    pictures(frames / "frame10.png", frames / "frame11.png")
    write_flow(placed(folder / "other-gt-flow" / "Grove2" / "flow10.flo"), SCENE.flow)


Tree = Callable[[Path], None]

# Layout, what lays a scene out so, and how far flow and depth may be from the truth.
FLOW: list[tuple[LayoutName, Tree, float, float | None]] = [
    ("flying-chairs", flying_chairs_tree, 0, None),
    ("flying-things", flying_things_tree, 0, None),
    ("flying-things-final", flying_things_final_tree, 0, None),
    ("sintel", sintel_tree, 0, 1e-6),
    ("sintel-final", sintel_final_tree, 0, 1e-6),
    ("kitti-2012", kitti_2012_tree, 1 / 128, None),
    ("kitti-2015", kitti_2015_tree, 1 / 128, None),
    ("hd1k", hd1k_tree, 1 / 128, None),
    ("spring", spring_tree, 0, None),
    ("virtual-kitti", virtual_kitti_tree, 1.01 * 31 / 65535, 0.0051),
    ("middlebury-flow", middlebury_flow_tree, 0, None),
]


@pytest.mark.parametrize("within", ["", "training"])
@pytest.mark.parametrize(("layout", "tree", "within_flow", "within_depth"), FLOW)
def test_a_scene_in_a_known_layout_comes_back(
    tmp_path: Path,
    within: str,
    layout: LayoutName,
    tree: Tree,
    within_flow: float,
    within_depth: float | None,
) -> None:
    tree(tmp_path / within)
    for name in (None, layout):
        dataset = open_folder(tmp_path, name)
        assert len(dataset) == 1
        sample = dataset[0]
        check_frames(sample, lossy=layout == "virtual-kitti")
        assert sample.flow_valid.all()
        assert (sample.flow - SCENE.flow).abs().max() <= within_flow
        assert sample.depth_valid.any() == (within_depth is not None)
        if within_depth is not None:
            assert (sample.depth - SCENE.depth1).abs().max() <= within_depth


def check_frames(sample: Sample, *, lossy: bool) -> None:
    apart = max(
        float((sample.image1 - SCENE.image1).abs().mean()),
        float((sample.image2 - SCENE.image2).abs().mean()),
    )
    assert apart < (0.05 if lossy else 1 / 255)
    assert not sample.image1.equal(sample.image2)


@pytest.mark.parametrize("layout", ["sintel", "kitti-2012", "kitti-2015"])
def test_what_the_second_frame_hides_is_known(tmp_path: Path, layout: LayoutName) -> None:
    {name: tree for name, tree, *_ in FLOW}[layout](tmp_path)
    occlusion = open_folder(tmp_path, layout).files[0].read_occlusion()
    assert occlusion is not None
    assert occlusion.equal(SCENE.occlusion)
    assert SCENE.occlusion.any()


def test_grey_frames_of_kitti_2012_are_taken_where_there_are_no_others(tmp_path: Path) -> None:
    kitti_2012_tree(tmp_path, "image_0")
    assert len(open_folder(tmp_path, "kitti-2012")) == 1


def test_flow_into_the_past_pairs_each_frame_with_the_one_before(tmp_path: Path) -> None:
    frames = tmp_path / "frames_cleanpass" / "TEST" / "B" / "0001" / "left"
    flows = tmp_path / "optical_flow" / "TEST" / "B" / "0001" / "into_past" / "left"
    for number in (6, 7):
        write_frame(frames / f"{number:04d}.png", number)
        path = placed(flows / f"OpticalFlowIntoPast_{number:04d}_L.pfm")
        write_flow(path, torch.full((2, 6, 8), float(number)))
    dataset = flying_things(tmp_path, part="TEST", direction="past")
    assert len(dataset) == 1
    sample = dataset[0]
    assert (level_of(sample.image1), level_of(sample.image2)) == (7, 6)
    assert sample.flow.eq(7).all()


def test_a_gap_within_a_sequence_is_refused(tmp_path: Path) -> None:
    flying_things_tree(tmp_path)
    frames = tmp_path / "frames_cleanpass" / "TRAIN" / "A" / "0000" / "left"
    flows = tmp_path / "optical_flow" / "TRAIN" / "A" / "0000" / "into_future" / "left"
    write_image(frames / "0009.png", SCENE.image1)
    write_flow(flows / "OpticalFlowIntoFuture_0009_L.pfm", SCENE.flow)
    assert refusal(lambda: open_folder(tmp_path)) == (
        f"{flows}/OpticalFlowIntoFuture_0007_L.pfm must have a partner {frames}/0008.png; add it, "
        "or take OpticalFlowIntoFuture_0007_L.pfm away"
    )


@pytest.mark.parametrize("within", ["", "data", "training", "train"])
def test_layout_is_told_by_the_names_of_the_files(tmp_path: Path, within: str) -> None:
    chairs(tmp_path / "chairs" / within, count=3)
    kitti_tree(tmp_path / "kitti" / within)
    tum_tree(tmp_path / "tum" / within)
    for frame, suffix in enumerate(("png", "jpg")):
        for rooms in (tmp_path / "rooms" / within / "seq-01", tmp_path / "flat" / within):
            write_frame(rooms / f"frame-{frame:06d}.color.{suffix}", frame)
            write_distance(rooms / f"frame-{frame:06d}.depth.png", 2.0, scale=1000)
        offices = tmp_path / "nyu" / within / "office_1"
        write_frame(offices / f"rgb_{frame:05d}.jpg", frame)
        write_distance(offices / f"sync_depth_{frame:05d}.png", 3.0, scale=1000)
    bench = tmp_path / "middlebury" / within / "Bench"
    write_frame(bench / "im0.png", 1)
    write_frame(bench / "im1.png", 2)
    write_distance(bench / "disp0.pfm", 5.0)
    drive = "2011_09_26_drive_0001_sync"
    depth = f"{drive}/proj_depth/groundtruth/image_02/0000000005.png"
    write_distance(tmp_path / "drives" / within / depth, 5.0, scale=256)
    recorded = f"2011_09_26/{drive}/image_02/data/0000000005.png"
    write_frame(tmp_path / "drives" / within / recorded, 7)
    sets = {"chairs": 3, "kitti": 2, "tum": 2, "rooms": 2, "flat": 2, "nyu": 2, "middlebury": 1}
    sets["drives"] = 1
    assert {name: len(open_folder(tmp_path / name)) for name in sets} == sets
    assert open_folder(tmp_path / "middlebury")[0].flow[:, 0, 0].tolist() == [-5, 0]
    assert level_of(open_folder(tmp_path / "rooms")[0].image2) == 1
    assert open_folder(tmp_path / "nyu")[1].depth.eq(3).all()
    assert open_folder(tmp_path / "nyu") is open_folder(tmp_path / "nyu")


def test_folder_of_no_known_layout_is_refused_with_what_was_looked_for_and_found(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    told = refusal(lambda: open_folder(folder))
    assert told.startswith(
        f"{folder} must hold files of a known layout: *_flow.flo (flying-chairs), "
        "frames_cleanpass/TRAIN/*/*/left/*.png (flying-things), frames_finalpass/TRAIN/*/*/left/*"
        ".png (flying-things-final), clean/*/frame_*.png (sintel), final/*/frame_*.png (sintel-fin"
    )
    assert told.endswith(
        "*/sync_depth_*.png (nyu); it holds nothing; arrange the files so, or open them with one "
        "of the functions of promotion.datasets"
    )
    for name in "edcbag":
        (folder / name).mkdir()
    (folder / "f.txt").touch()
    assert refusal(lambda: open_folder(folder, "spring")) == (
        f"{folder} must hold files of a known layout: */flow_FW_left/*.flo5 (spring); it holds a/, "
        "b/, c/, d/, e/ and 2 more; arrange the files so, or open them with one of the functions "
        "of promotion.datasets"
    )
    assert refusal(lambda: open_folder(tmp_path / "none")) == (
        f"{tmp_path}/none must be a folder; check the path"
    )
    layouts = ", ".join(layout.name for layout in LAYOUTS)
    assert refusal(lambda: open_folder(folder, cast("LayoutName", "chairs"))) == (
        f"layout (chairs) must be one of {layouts}; choose one"
    )
