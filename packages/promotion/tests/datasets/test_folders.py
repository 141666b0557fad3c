from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from folder_trees import (
    HEIGHT,
    WIDTH,
    chairs,
    kitti_tree,
    level_of,
    levels,
    refusal,
    tum_tree,
    write_distance,
    write_frame,
    write_motion,
)
from promotion.datasets import (
    FolderDataset,
    SampleFiles,
    flying_chairs,
    kitti_2015,
    kitti_depth,
    rgbd,
    stereo,
)
from promotion.io import write_image


def test_flying_chairs_have_frames_and_flow_and_no_depth(tmp_path: Path) -> None:
    chairs(tmp_path)
    dataset = flying_chairs(tmp_path)
    assert len(dataset) == 2
    sample = dataset[1]
    assert (level_of(sample.image1), level_of(sample.image2)) == (10, 11)
    assert sample.flow.eq(1.5).all()
    assert sample.flow_valid.all()
    assert not sample.depth_valid.any()
    assert not sample.depth.any()


def test_flying_chairs_have_depth_where_it_is_there(tmp_path: Path) -> None:
    chairs(tmp_path, suffix="png")
    for number in range(2):
        write_distance(tmp_path / f"{number:05d}_depth1.pfm", 3.0 + number)
    assert flying_chairs(tmp_path)[1].depth.eq(4).all()
    (tmp_path / "00001_depth1.pfm").unlink()
    assert refusal(lambda: flying_chairs(tmp_path)) == (
        f"{tmp_path}/00001_flow.flo must have a partner {tmp_path}/00001_depth1.pfm; add it, "
        "or take 00001_flow.flo away"
    )


@pytest.mark.parametrize(
    ("missing", "left"),
    [
        ("00001_flow.flo", "00001_img1.ppm"),
        ("00001_img1.ppm", "00001_flow.flo"),
        ("00001_img2.ppm", "00001_flow.flo"),
    ],
)
def test_chairs_without_a_partner_are_refused(tmp_path: Path, missing: str, left: str) -> None:
    chairs(tmp_path)
    (tmp_path / missing).unlink()
    assert refusal(lambda: flying_chairs(tmp_path)) == (
        f"{tmp_path}/{left} must have a partner {tmp_path}/{missing}; add it, or take {left} away"
    )


def test_file_without_a_name_of_its_own_is_left_aside(tmp_path: Path) -> None:
    chairs(tmp_path, count=1)
    write_motion(tmp_path / "_flow.flo", 1)
    assert len(flying_chairs(tmp_path)) == 1


def test_folder_without_chairs_is_refused(tmp_path: Path) -> None:
    assert refusal(lambda: flying_chairs(tmp_path)) == (
        f"{tmp_path} must hold files *_flow.flo; check the folder"
    )


def test_frame_of_another_size_is_refused(tmp_path: Path) -> None:
    chairs(tmp_path, count=1)
    write_image(tmp_path / "00000_img2.ppm", torch.zeros(3, 4, 5))
    assert refusal(lambda: flying_chairs(tmp_path)[0]) == (
        f"{tmp_path}/00000_img2.ppm (5 x 4) must be as large as {tmp_path}/00000_img1.ppm (8 x 6); "
        "take both from one data set"
    )


def test_kitti_flow_is_known_where_the_file_says(tmp_path: Path) -> None:
    kitti_tree(tmp_path)
    sample = kitti_2015(tmp_path)[1]
    assert (level_of(sample.image1), level_of(sample.image2)) == (1, 11)
    assert sample.flow_valid.nonzero().tolist() == [[1, 3]]
    assert sample.flow[:, 1, 3].tolist() == [4, 4]
    assert sample.flow.sum() == 8
    assert kitti_2015(tmp_path, flow="flow_noc")[1].flow.sum() == 4


def test_kitti_depth_finds_its_frame_among_the_recordings(tmp_path: Path) -> None:
    depths, images = tmp_path / "annotated" / "train", tmp_path / "raw"
    drives = ("2011_09_26_drive_0001_sync", "2011_09_28_drive_0002_sync")
    for number, (drive, suffix) in enumerate(zip(drives, ("png", "jpg"), strict=True)):
        name = f"{drive}/proj_depth/groundtruth/image_02/0000000005.png"
        write_distance(depths / name, 5.0 + number, scale=256)
        for frame in (4, 5):
            name = f"{drive[:10]}/{drive}/image_02/data/{frame:010d}.{suffix}"
            write_frame(images / name, 40 + number)
    dataset = kitti_depth(depths, images)
    assert levels(dataset) == [(40, 40), (41, 41)]
    assert dataset[1].depth.eq(6).all()
    assert not dataset[1].flow_valid.any()
    shutil.rmtree(images / "2011_09_28")
    assert refusal(lambda: kitti_depth(depths, images)) == (
        f"{depths}/2011_09_28_drive_0002_sync/proj_depth/groundtruth/image_02/0000000005.png must "
        f"have a partner {images}/2011_09_28_drive_0002_sync/image_02/data/0000000005.png; add it, "
        "or take 0000000005.png away"
    )


def test_kitti_depth_takes_the_frames_that_a_split_names(tmp_path: Path) -> None:
    drive, split = "2011_09_26_drive_0001_sync", tmp_path / "split.txt"
    frames = "2011_09_26/" + drive + "/image_02/data/{:010d}.png"
    for number in (5, 6, 7):
        depth = tmp_path / "depths" / drive / "proj_depth/groundtruth/image_02"
        write_distance(depth / f"{number:010d}.png", float(number), scale=256)
        write_frame(tmp_path / "raw" / frames.format(number), number)
    named = [f"{frames.format(7)} depth.png 721.5", f"{frames.format(9)} None 721.5", ""]
    split.write_text("\n".join([*named, frames.format(5)]))

    def opened() -> FolderDataset:
        return kitti_depth(tmp_path / "depths", tmp_path / "raw", split=split)

    assert levels(opened()) == [(7, 7), (5, 5)]
    split.write_text("\n".join([frames.format(5), frames.format(8)]))
    assert refusal(opened) == (
        f"{tmp_path}/depths/2011_09_26_drive_0001_sync/proj_depth/groundtruth/image_02/0000000008"
        ".png must exist; check the file that names it"
    )
    split.write_text("a.png b.png")
    assert refusal(opened) == (
        f"line 1 of split ({split}) must begin with a frame such as "
        "DAY/DRIVE_sync/image_02/data/0000000005.png (a.png); check the file"
    )
    split.write_text("\n")
    assert refusal(opened) == f"split ({split}) must name a frame with depth; check the file"
    split.unlink()
    assert refusal(opened) == f"split ({split}) must be a readable text file; check the path"


def test_frames_of_a_depth_camera_take_the_step_within_their_folder(tmp_path: Path) -> None:
    for room in ("a", "b"):
        for frame in range(3):
            write_frame(tmp_path / room / f"frame-{frame}.color.png", 10 * (room == "b") + frame)
            path = tmp_path / room / f"frame-{frame}.depth.png"
            write_distance(path, 1.5 + frame, scale=1000)
    names = {"image": "*/frame-*.color.png", "depth": "*/frame-*.depth.png"}
    alone = rgbd(tmp_path, image=names["image"], depth=names["depth"], scale=1000)
    assert levels(alone)[3:] == [(10, 10), (11, 11), (12, 12)]
    assert alone[4].depth.allclose(torch.tensor(2.5))
    moving = rgbd(tmp_path, image=names["image"], depth=names["depth"], scale=1000, step=2)
    assert levels(moving) == [(0, 2), (1, 1), (2, 2), (10, 12), (11, 11), (12, 12)]


def test_frames_take_the_depth_that_is_nearest_in_time(tmp_path: Path) -> None:
    tum_tree(tmp_path)
    dataset = rgbd(tmp_path, image="rgb/*.png", depth="depth/*.png", scale=5000, within=0.03)
    assert levels(dataset) == [(100, 100), (101, 101)]
    assert dataset[0].depth.allclose(torch.tensor(0.99))
    assert dataset[1].depth.allclose(torch.tensor(1.12))


def test_times_that_do_not_meet_are_refused(tmp_path: Path) -> None:
    tum_tree(tmp_path)

    def opened() -> FolderDataset:
        return rgbd(tmp_path, image="rgb/*.png", depth="depth/*.png", scale=5000, within=0.001)

    told = (
        f"{tmp_path} must hold files rgb/*.png and depth/*.png whose times differ by at most 0.001 "
        "seconds; check the folder"
    )
    assert refusal(opened) == told
    shutil.rmtree(tmp_path / "depth")
    assert refusal(opened) == told
    write_distance(tmp_path / "depth" / "first.png", 1.0, scale=5000)
    assert refusal(opened) == (
        f"{tmp_path}/depth/first.png must be named after its time in seconds; leave out `within` "
        "to match equal names"
    )


def write_stored(path: Path, stored: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(stored).save(path)


def test_disparity_is_flow_to_the_left(tmp_path: Path) -> None:
    stored = np.full((HEIGHT, WIDTH), 12, dtype=np.uint8)
    stored[0, 0] = 0
    write_frame(tmp_path / "cones" / "im2.png", 1)
    write_frame(tmp_path / "cones" / "im6.png", 2)
    write_stored(tmp_path / "cones" / "disp2.png", stored)
    names = {"left": "*/im2.png", "right": "*/im6.png", "disparity": "*/disp2.png"}
    sample = stereo(tmp_path, **names, scale=4)[0]
    assert sample.flow[:, 1, 1].tolist() == [-3, 0]
    assert sample.flow[:, 0, 0].tolist() == [0, 0]
    assert not sample.flow_valid[0, 0]
    assert sample.flow_valid.sum() == HEIGHT * WIDTH - 1

    write_stored(tmp_path / "cones" / "disp2.png", stored.astype(np.uint16) * 256)
    assert stereo(tmp_path, **names, scale=256)[0].flow[0, 1, 1] == -12


def test_disparity_that_is_missing_or_no_image_is_refused(tmp_path: Path) -> None:
    write_frame(tmp_path / "left.png", 1)
    files = SampleFiles(image1=tmp_path / "left.png", disparity=tmp_path / "none.png")
    assert refusal(files.read) == f"{tmp_path}/none.png must exist; check the path"
