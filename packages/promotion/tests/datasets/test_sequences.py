from __future__ import annotations

from pathlib import Path

import torch

from folder_trees import (
    HEIGHT,
    WIDTH,
    level_of,
    refusal,
    sintel_tree,
    write_distance,
)
from promotion.datasets import sintel
from promotion.io import write_image


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
