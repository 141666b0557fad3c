from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from promotion import ProMotion, ProMotionConfig
from promotion._pictures import Picture, as_picture
from promotion._predict import coarse_start, consistency, views
from promotion.io import write_image
from tokenseek_common import InputError


def nano() -> ProMotion:
    torch.manual_seed(0)
    return ProMotion(ProMotionConfig.size("nano"))


def pair_of(h: int, w: int) -> Tensor:
    return torch.rand(2, 3, h, w, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("h", "w"), [(16, 16), (33, 61), (40, 64), (90, 300)])
def test_everything_has_the_size_of_the_pictures(h: int, w: int) -> None:
    motion = nano().predict(*pair_of(h, w))
    assert motion.flow is not None
    assert motion.flow.shape == (2, h, w)
    for found in (motion.depth, motion.confidence, motion.occlusion, motion.assignments):
        assert found is not None
        assert found.shape == (h, w)
    assert motion.flow.isfinite().all()
    assert ((motion.depth >= 0.1) & (motion.depth <= 100)).all()


def test_one_picture_has_depth_alone() -> None:
    motion = nano().predict(pair_of(33, 41)[0])
    assert motion.depth.shape == (33, 41)
    assert (motion.flow, motion.confidence, motion.occlusion) == (None, None, None)


def test_the_first_view_is_seen_as_by_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("promotion._predict.views", lambda *_: [1.0])
    model = nano().eval()
    first, second = pair_of(32, 40)
    with torch.no_grad():
        output = model(first[None], second[None], iterations=5)
    motion = model.predict(first, second, iterations=5)
    assert motion.flow is not None
    torch.testing.assert_close(motion.flow, output.flows[0][0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(motion.depth, output.depths[0][0], rtol=1e-4, atol=1e-4)
    assert output.assignments is not None
    assert motion.assignments is not None
    assert torch.equal(motion.assignments[::8, ::8], output.assignments[0])


def test_depth_is_that_of_the_first_view_and_flow_that_of_the_last() -> None:
    model = nano().eval()
    pair = pair_of(40, 144)
    twice = F.interpolate(pair, (80, 288), mode="bilinear")
    with torch.no_grad():
        once = model(pair[:1], pair[1:], iterations=2)
        larger = F.interpolate(2 * once.flows[0], (80, 288), mode="bilinear")
        finer = model(twice[:1], twice[1:], iterations=2, start=F.avg_pool2d(larger / 8, 8))
    motion = model.predict(*pair, iterations=2)
    assert motion.flow is not None
    torch.testing.assert_close(motion.depth, once.depths[0][0], rtol=1e-4, atol=1e-4)
    flow = F.interpolate(finer.flows[0] / 2, (40, 144), mode="bilinear", antialias=True)
    torch.testing.assert_close(motion.flow, flow[0], rtol=1e-3, atol=1e-3)


def test_the_model_keeps_its_mode_and_takes_no_gradient() -> None:
    model = nano().train()
    motion = model.predict(*pair_of(32, 32))
    assert model.training
    assert not motion.depth.requires_grad


def test_without_prototypes_there_are_no_assignments() -> None:
    model = ProMotion(ProMotionConfig.size("nano", prototypes=0))
    assert model.predict(*pair_of(16, 16)).assignments is None


def test_views_begin_near_the_trained_size_and_double() -> None:
    assert views(64, 96) == [
        2,
    ]
    assert views(128, 100) == [2]
    assert views(192, 256) == [1, 2]
    assert views(257, 100) == [0.5, 1]
    assert views(1080, 1920) == [0.125, 0.25, 0.5, 1]


def test_a_start_is_the_reduced_flow_in_cells_of_the_next_scale() -> None:
    flow = torch.stack([torch.full((16, 20), 4.0), torch.full((16, 20), -2.0)])[None]
    start = coarse_start(flow, (32, 40), (32, 48))  # twice the size, 8 pixels to a cell
    expected = torch.stack([torch.full((4, 6), 1.0), torch.full((4, 6), -0.5)])[None]
    torch.testing.assert_close(start, expected)


def test_flow_and_its_way_back_agree_where_they_undo_each_other() -> None:
    flow = torch.zeros(2, 6, 8)
    flow[0] = 2.0
    back = -flow
    back[0, :, 4] = 1.0  # where x = 2 lands
    confidence = consistency(flow, back)
    tolerated = 0.01 * (4 + 1) + 0.5
    expected = torch.tensor([1, 1, math.exp(-9 / tolerated), 1, 1, 1, 0, 0]).expand(6, 8)
    torch.testing.assert_close(confidence, expected)


def test_a_confident_pixel_is_not_occluded() -> None:
    motion = nano().predict(*pair_of(32, 40))
    assert motion.confidence is not None
    assert motion.occlusion is not None
    assert torch.equal(motion.occlusion, motion.confidence < math.exp(-1))


def test_pictures_may_be_paths_arrays_and_tensors(tmp_path: Path) -> None:
    pixels = (255 * pair_of(20, 24)[0]).to(torch.uint8)
    write_image(tmp_path / "a.png", pixels)
    array = pixels.permute(1, 2, 0).numpy()
    expected = pixels.float() / 255
    given: list[Picture] = [
        tmp_path / "a.png",
        str(tmp_path / "a.png"),
        array,
        (array / 255).astype(np.float32),
        Image.fromarray(array),
        pixels,
        expected.double(),
    ]
    for each in given:
        picture = as_picture(each, "image1")
        assert picture.dtype == torch.float32
        torch.testing.assert_close(picture, expected)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (torch.rand(16, 16), "image1 ((16, 16)) must be of shape [3, h, w]; permute or convert it"),
        (
            np.zeros((16, 16)),
            "image1 ((16, 16)) must be of shape [h, w, 3]; convert it to colour",
        ),
        (
            torch.rand(3, 12, 40),
            "image1 (12 x 40) must have at least 16 pixels to each side; enlarge it",
        ),
        (
            torch.ones(3, 16, 16, dtype=torch.int64),
            "image1 (int64) must be uint8, or floats in [0, 1]; convert it",
        ),
        (
            torch.full((3, 16, 16), 255.0),
            "image1 (values from 255 to 255) must be finite and in [0, 1]; divide by its largest "
            "possible value",
        ),
        (
            torch.full((3, 16, 16), math.nan),
            "image1 (values from nan to nan) must be finite and in [0, 1]; divide by its largest "
            "possible value",
        ),
    ],
)
def test_pictures_that_cannot_be_used_are_refused(given: Any, said: str) -> None:
    with pytest.raises(InputError) as error:
        nano().predict(given)
    assert str(error.value) == said


def test_two_sizes_are_refused() -> None:
    with pytest.raises(InputError) as error:
        nano().predict(torch.rand(3, 16, 24), torch.rand(3, 24, 16))
    assert str(error.value) == (
        "image2 ((3, 24, 16)) must have the shape of image1 ((3, 16, 24)); resize one of them"
    )
