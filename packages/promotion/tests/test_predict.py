from __future__ import annotations

import math
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from promotion import ProMotion, ProMotionConfig
from promotion._pictures import Picture, as_picture
from promotion._views import coarse_start, depth_views, views
from promotion.io import write_image
from tokenseek_common import InputError


def nano() -> ProMotion:
    torch.manual_seed(0)
    return ProMotion(ProMotionConfig.size("nano"))


def pair_of(h: int, w: int) -> Tensor:
    return torch.rand(2, 3, h, w, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("h", "w"), [(16, 16), (33, 61), (40, 64), (90, 300)])
def test_everything_has_the_size_of_the_pictures(h: int, w: int) -> None:
    motion = nano().predict(*pair_of(h, w), confidence=True)
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


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the network finds, as it is."""
    monkeypatch.setattr("promotion._predict.refine", lambda first, second, flow: flow)
    monkeypatch.setattr("promotion._predict.or_no_motion", lambda first, second, flow: flow)


@pytest.mark.usefixtures("plain")
def test_a_view_is_seen_as_by_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("promotion._predict.views", lambda *_: [1.0])
    model = nano().eval()
    first, second = pair_of(32, 40)
    with torch.no_grad():
        output = model(first[None], second[None], iterations=20)
    motion = model.predict(first, second, iterations=5)
    assert motion.flow is not None
    torch.testing.assert_close(motion.flow, output.flows[0][0], rtol=1e-4, atol=1e-4)
    assert output.assignments is not None
    assert motion.assignments is not None
    assert torch.equal(motion.assignments[::8, ::8], output.assignments[0])


@pytest.mark.usefixtures("plain")
def test_each_view_begins_where_the_one_before_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("promotion._predict.views", lambda *_: [1.0, 2.0])
    model = nano().eval()
    pair = pair_of(40, 144)
    twice = F.interpolate(pair, (80, 288), mode="bilinear")
    with torch.no_grad():
        once = model(pair[:1], pair[1:], iterations=8)
        larger = F.interpolate(2 * once.flows[0], (80, 288), mode="bilinear")
        found = model.extract(twice).features
        finer = model.flow(
            found[:1],
            found[1:],
            iterations=4,
            start=F.avg_pool2d(larger / 8, 8),
            rematch=True,
        )
    motion = model.predict(*pair, iterations=2)
    assert motion.flow is not None
    flow = F.interpolate(finer.flows[0] / 2, (40, 144), mode="bilinear", antialias=True)
    torch.testing.assert_close(motion.flow, flow[0], rtol=1e-3, atol=1e-3)


def test_one_frame_two_frames_and_the_last_of_many_have_depth_on_one_scale() -> None:
    model = nano()
    first, second = pair_of(48, 64)
    *_, last = model.predict_frames([first, second])
    middles = [
        motion.depth.log().median()
        for motion in (model.predict(second), model.predict(second, first), last)
    ]
    torch.testing.assert_close(torch.stack(middles), middles[0].expand(3), atol=0.01, rtol=0)
    assert torch.equal(last.depth, model.predict(second, first).depth)


def test_frames_of_a_sequence_are_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model = nano()
    frames = list(torch.rand(3, 3, 40, 48, generator=torch.Generator().manual_seed(2)))
    alone = [model.predict(*frames[:2]), model.predict(*frames[1:])]
    extract = Mock(side_effect=model.extract)
    monkeypatch.setattr(model, "extract", extract)
    *motions, last = model.predict_frames(frames)
    assert extract.call_count == 3 * len(views(40, 48))
    assert last.flow is None
    for found, expected in zip(motions, alone, strict=True):
        assert found.flow is not None
        assert expected.flow is not None
        assert torch.equal(found.flow, expected.flow)
        assert torch.equal(found.depth, expected.depth)


def test_frames_of_two_sizes_are_refused() -> None:
    with pytest.raises(InputError) as error:
        list(nano().predict_frames([torch.rand(3, 16, 24), torch.rand(3, 24, 16)]))
    assert str(error.value) == (
        "frame 1 ((3, 24, 16)) must have the shape of frame 0 ((3, 16, 24)); resize one of them"
    )


def test_the_way_back_is_found_only_where_confidence_is_asked_for() -> None:
    model = nano()
    motion = model.predict(*pair_of(32, 40))
    assert (motion.confidence, motion.occlusion) == (None, None)
    asked = model.predict(*pair_of(32, 40), confidence=True)
    assert motion.flow is not None
    assert asked.flow is not None
    assert torch.equal(motion.flow, asked.flow)
    assert asked.confidence is not None
    assert asked.occlusion is not None
    assert asked.occlusion[asked.confidence == 0].all()


def test_a_model_in_another_precision_finds_the_same_in_that_of_the_pictures() -> None:
    pair = pair_of(150, 40)  # several views
    expected, motion = nano().predict(*pair), nano().double().predict(*pair)
    assert motion.flow is not None
    assert expected.flow is not None
    torch.testing.assert_close(motion.flow, expected.flow, rtol=1e-2, atol=1e-2)
    torch.testing.assert_close(motion.depth, expected.depth, rtol=1e-3, atol=1e-3)


def test_the_model_keeps_its_mode_and_takes_no_gradient() -> None:
    model = nano().train()
    motion = model.predict(*pair_of(32, 32))
    assert model.training
    assert not motion.depth.requires_grad


def test_without_prototypes_there_are_no_assignments() -> None:
    model = ProMotion(ProMotionConfig.size("nano", prototypes=0))
    assert model.predict(*pair_of(16, 16)).assignments is None


def test_views_begin_near_the_trained_size_and_double() -> None:
    assert views(40, 50) == [2]
    assert views(64, 96) == [1, 2]
    assert views(192, 256) == [0.5, 1, 2]
    assert views(192, 257) == [0.25, 0.5, 1]
    assert views(436, 1024) == [0.125, 0.25, 0.5, 1]
    assert views(1080, 1920) == [1 / 16, 0.125, 0.25, 0.5]
    assert views(2160, 3840) == [1 / 32, 1 / 16, 0.125, 0.25]


def test_the_quality_says_how_fine_the_last_view_is() -> None:
    assert views(192, 256, "fast") == [0.5, 1]
    assert views(1080, 1920, "fast") == [1 / 16, 0.125, 0.25]
    assert views(1080, 1920, "best") == [1 / 16, 0.125, 0.25, 0.5, 1]
    with pytest.raises(InputError) as error:
        nano().predict(*pair_of(16, 16), quality="slow")  # type: ignore[arg-type]
    assert str(error.value) == ("quality (slow) must be one of fast, balanced, best; choose one")


def test_depth_is_found_in_views_no_larger_than_pictures_trained_on() -> None:
    assert depth_views(64, 96, [1, 2]) == [2]
    assert depth_views(192, 256, [0.5, 1, 2]) == [0.5, 1]
    assert depth_views(436, 1024, [0.125, 0.25, 0.5, 1]) == [0.125, 0.25]
    assert depth_views(400, 400, [1]) == [1]


def test_a_start_is_the_reduced_flow_in_cells_of_the_next_scale() -> None:
    flow = torch.stack([torch.full((16, 20), 4.0), torch.full((16, 20), -2.0)])[None]
    start = coarse_start(flow[0], (32, 40), (32, 48))  # twice the size, 8 pixels to a cell
    expected = torch.stack([torch.full((4, 6), 1.0), torch.full((4, 6), -0.5)])
    torch.testing.assert_close(start, expected)


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
            np.zeros((16, 16, 4)),
            "image1 ((16, 16, 4)) must be of shape [h, w, 3] or [h, w]; convert it to colour",
        ),
        (
            None,
            "image1 (NoneType) must be a path, an array, a PIL image or a tensor; convert it",
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


def test_grey_arrays_are_taken_as_grey_files_are() -> None:
    grey = np.linspace(0, 1, 16 * 17).reshape(16, 17)
    assert torch.equal(as_picture(grey, "image1"), torch.tensor(grey).expand(3, 16, 17).float())


def test_iterations_are_one_at_least() -> None:
    with pytest.raises(InputError) as error:
        nano().predict(*pair_of(16, 16), iterations=0)
    assert str(error.value) == "iterations (0) must be at least 1; choose more"


def test_two_sizes_are_refused() -> None:
    with pytest.raises(InputError) as error:
        nano().predict(torch.rand(3, 16, 24), torch.rand(3, 24, 16))
    assert str(error.value) == (
        "image2 ((3, 24, 16)) must have the shape of image1 ((3, 16, 24)); resize one of them"
    )
