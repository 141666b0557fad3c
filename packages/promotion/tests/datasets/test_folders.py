from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from promotion.datasets import (
    FolderDataset,
    SampleFiles,
    flying_chairs,
    kitti_2015,
    kitti_depth,
    open_folder,
    rgbd,
    sintel,
    stereo,
)
from promotion.io import write_depth, write_flow, write_image
from tokenseek_common import InputError

HEIGHT, WIDTH = 6, 8


def grey(level: int) -> torch.Tensor:
    """A frame that can be told from others."""
    return torch.full((3, HEIGHT, WIDTH), level, dtype=torch.uint8)


def level_of(image: torch.Tensor) -> int:
    return round(float(image.mean()) * 255)


def levels(dataset: FolderDataset) -> list[tuple[int, int]]:
    """What tells the frames of each sample from others."""
    samples = (dataset[index] for index in range(len(dataset)))
    return [(level_of(sample.image1), level_of(sample.image2)) for sample in samples]


def write_frame(path: Path, level: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, grey(level))


def write_motion(path: Path, length: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_flow(path, torch.full((2, HEIGHT, WIDTH), float(length)))


def write_distance(path: Path, metres: float, *, scale: int | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_depth(path, torch.full((HEIGHT, WIDTH), metres), scale=scale)


def refusal(opened: Callable[[], object]) -> str:
    """What opening a folder is refused with."""
    with pytest.raises(InputError) as caught:
        opened()
    return str(caught.value)


def chairs(folder: Path, count: int = 2, suffix: str = "ppm") -> None:
    for number in range(count):
        write_frame(folder / f"{number:05d}_img1.{suffix}", 10 * number)
        write_frame(folder / f"{number:05d}_img2.{suffix}", 10 * number + 1)
        write_motion(folder / f"{number:05d}_flow.flo", number + 0.5)


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


def sintel_tree(folder: Path) -> None:
    for scene, start in (("alley_1", 0), ("market_2", 100)):
        for frame in (1, 2, 3):
            write_frame(folder / "clean" / scene / f"frame_{frame:04d}.png", start + frame)
            write_frame(folder / "final" / scene / f"frame_{frame:04d}.png", start + 50 + frame)
        for frame in (1, 2):
            write_motion(folder / "flow" / scene / f"frame_{frame:04d}.flo", start + frame)


def test_sintel_pairs_each_frame_with_the_next_of_its_scene(tmp_path: Path) -> None:
    sintel_tree(tmp_path)
    levels = [
        (level_of(s.image1), level_of(s.image2))
        for s in map(sintel(tmp_path).__getitem__, range(4))
    ]
    assert levels == [(1, 2), (2, 3), (101, 102), (102, 103)]
    final = sintel(tmp_path, render="final")[3]
    assert level_of(final.image1) == 152
    assert final.flow.eq(102).all()
    assert final.flow_valid.all()


def test_sintel_knows_no_flow_where_a_mask_says_invalid_and_what_another_says_is_occluded(
    tmp_path: Path,
) -> None:
    sintel_tree(tmp_path)
    mask = torch.zeros(3, HEIGHT, WIDTH)
    mask[:, 2, 3] = 1
    for flow in (tmp_path / "flow").glob("*/*.flo"):
        for masks in ("invalid", "occlusions"):
            path = tmp_path / masks / flow.parent.name / f"{flow.stem}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_image(path, mask if masks == "invalid" else 1 - mask)
        write_distance(tmp_path / "depth" / flow.parent.name / f"{flow.stem}.dpt", 9.0)
    files = sintel(tmp_path).files[0]
    sample, occlusion = files.read(), files.read_occlusion()
    assert occlusion is not None
    assert occlusion.equal(mask[0] == 0)
    assert not sample.flow_valid[2, 3]
    assert sample.flow_valid.sum() == HEIGHT * WIDTH - 1
    assert not sample.flow[:, 2, 3].any()
    assert sample.depth.eq(9).all()


def test_sintel_flow_without_its_frames_is_refused(tmp_path: Path) -> None:
    sintel_tree(tmp_path)
    clean, flow = tmp_path / "clean" / "alley_1", tmp_path / "flow" / "alley_1"
    (clean / "frame_0003.png").unlink()
    assert refusal(lambda: sintel(tmp_path)) == (
        f"{flow}/frame_0002.flo must have a partner {clean}/frame_0003.png; add it, "
        "or take frame_0002.flo away"
    )
    (clean / "frame_0002.png").unlink()
    assert refusal(lambda: sintel(tmp_path)) == (
        f"{flow}/frame_0002.flo must have a partner {clean}/frame_0002.png; add it, "
        "or take frame_0002.flo away"
    )


def kitti_tree(folder: Path) -> None:
    for number in range(2):
        write_frame(folder / "image_2" / f"{number:06d}_10.png", number)
        write_frame(folder / "image_2" / f"{number:06d}_11.png", 10 + number)
        valid = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
        valid[1, 2 + number] = True
        for name, length in (("flow_occ", 4.0), ("flow_noc", 2.0)):
            (folder / name).mkdir(exist_ok=True, parents=True)
            flow = torch.full((2, HEIGHT, WIDTH), length)
            write_flow(folder / name / f"{number:06d}_10.png", flow, valid)


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


def tum_tree(folder: Path) -> None:
    for time in ("10.00", "10.10", "10.50"):
        write_frame(folder / "rgb" / f"{time}.png", int(float(time) * 10))
    for time in ("9.99", "10.12", "10.80"):
        write_distance(folder / "depth" / f"{time}.png", float(time) - 9, scale=5000)


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


@pytest.mark.parametrize("within", ["", "data", "training"])
def test_layout_is_told_by_the_names_of_the_files(tmp_path: Path, within: str) -> None:
    chairs(tmp_path / "chairs" / within, count=3)
    sintel_tree(tmp_path / "sintel" / within)
    kitti_tree(tmp_path / "kitti" / within)
    tum_tree(tmp_path / "tum" / within)
    for frame in range(2):
        rooms = tmp_path / "rooms" / within / "seq-01"
        write_frame(rooms / f"frame-{frame:06d}.color.png", frame)
        write_distance(rooms / f"frame-{frame:06d}.depth.png", 2.0, scale=1000)
        offices = tmp_path / "nyu" / within / "office_1"
        write_frame(offices / f"rgb_{frame:05d}.jpg", frame)
        write_distance(offices / f"sync_depth_{frame:05d}.png", 3.0, scale=1000)
    bench = tmp_path / "middlebury" / within / "Bench"
    write_frame(bench / "im0.png", 1)
    write_frame(bench / "im1.png", 2)
    write_distance(bench / "disp0.pfm", 5.0)
    sets = {"chairs": 3, "sintel": 4, "kitti": 2, "tum": 2, "rooms": 2, "nyu": 2, "middlebury": 1}
    assert {name: len(open_folder(tmp_path / name)) for name in sets} == sets
    assert open_folder(tmp_path / "middlebury")[0].flow[:, 0, 0].tolist() == [-5, 0]
    assert level_of(open_folder(tmp_path / "rooms")[0].image2) == 1
    assert open_folder(tmp_path / "nyu")[1].depth.eq(3).all()
    assert open_folder(tmp_path / "nyu") is open_folder(tmp_path / "nyu")


def test_folder_of_no_known_layout_is_refused(tmp_path: Path) -> None:
    assert refusal(lambda: open_folder(tmp_path)) == (
        f"{tmp_path} must be laid out as one of FlyingChairs, Sintel, KITTI 2015, TUM, 7-Scenes, "
        "NYU, Middlebury 2014; arrange its files so, or open it with one of the functions of "
        "promotion.datasets"
    )
    assert refusal(lambda: open_folder(tmp_path / "none")) == (
        f"{tmp_path}/none must be a folder; check the path"
    )
