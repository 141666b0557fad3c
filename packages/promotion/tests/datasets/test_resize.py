from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from promotion.datasets import Sample, resize
from promotion.scenes import SceneConfig, SceneDataset
from tokenseek_common import InputError


def linear(height: int, width: int, zoom: float = 1.0) -> Float[Tensor, "h w"]:
    """What a linear ramp is at the pixel centres of a frame that is this many times as large."""
    x = (torch.arange(width) + 0.5) / zoom - 0.5
    y = (torch.arange(height) + 0.5) / zoom - 0.5
    return 10 + 0.5 * x + 0.25 * y[:, None]


def sample_of(values: Float[Tensor, "h w"], valid: Tensor | None = None) -> Sample:
    known = torch.ones_like(values, dtype=torch.bool) if valid is None else valid
    image = (values / values.max()).expand(3, -1, -1)
    flow = torch.stack([values, -values]) * known
    return Sample(image, image, flow, known, values * known, known)


@pytest.mark.parametrize("zoom", [2, 3, 0.5])
def test_smooth_truth_is_exact_inside_at_whole_factors(zoom: float) -> None:
    height, width = int(24 * zoom), int(36 * zoom)
    resized = resize(sample_of(linear(24, 36)), height, width)
    expected = linear(height, width, zoom)
    inside = (slice(4, -4), slice(4, -4))
    torch.testing.assert_close(resized.depth[inside], expected[inside])
    torch.testing.assert_close(resized.flow[0][inside], zoom * expected[inside])
    torch.testing.assert_close(resized.flow[1][inside], -zoom * expected[inside])
    assert resized.flow_valid.all()


def test_each_axis_of_the_flow_has_its_own_factor() -> None:
    resized = resize(sample_of(torch.ones(8, 10)), 16, 30)
    torch.testing.assert_close(resized.flow[0], torch.full((16, 30), 3.0))
    torch.testing.assert_close(resized.flow[1], torch.full((16, 30), -2.0))
    torch.testing.assert_close(resized.depth, torch.ones(16, 30))


@pytest.mark.parametrize("size", [(16, 20), (40, 50), (33, 71)])
def test_unknown_truth_does_not_leak_into_the_known(size: tuple[int, int]) -> None:
    valid = torch.rand(32, 40, generator=torch.Generator().manual_seed(0)) < 0.2
    sample = sample_of(torch.full((32, 40), 8.0), valid)
    resized = resize(sample, *size)
    torch.testing.assert_close(
        resized.depth[resized.depth_valid], torch.tensor(8.0).expand(int(resized.depth_valid.sum()))
    )
    assert (resized.depth[~resized.depth_valid] == 0).all()
    assert (resized.flow[:, ~resized.flow_valid] == 0).all()


def test_lone_pixel_stays_known_at_any_size() -> None:
    valid = torch.zeros(24, 24, dtype=torch.bool)
    valid[9, 15] = True
    sample = sample_of(torch.full((24, 24), 3.0), valid)
    for size, place in ((8, (3, 5)), (24, (9, 15)), (72, (28, 46))):
        resized = resize(sample, size, size)
        assert resized.depth_valid[place]
        assert resized.depth[place] == pytest.approx(3)
        assert resized.depth_valid.float().sum() <= max(1, (size / 24) ** 2) * 4
        rows, columns = resized.depth_valid.nonzero(as_tuple=True)
        centre = (rows.float().mean() + 0.5, columns.float().mean() + 0.5)
        assert centre[0] / size == pytest.approx(9.5 / 24, abs=0.51 / size)
        assert centre[1] / size == pytest.approx(15.5 / 24, abs=0.51 / size)


def test_sparse_truth_grows_denser_as_the_frame_gets_smaller() -> None:
    valid = torch.rand(64, 64, generator=torch.Generator().manual_seed(0)) < 0.1
    resized = resize(sample_of(torch.ones(64, 64), valid), 16, 16)
    assert valid.float().mean() < 0.12
    assert resized.flow_valid.float().mean() > 0.6


def test_unknown_everywhere_stays_unknown() -> None:
    sample = sample_of(torch.ones(8, 8), torch.zeros(8, 8, dtype=torch.bool))
    assert not resize(sample, 5, 13).flow_valid.any()


def test_batch_is_resized_as_its_samples_are() -> None:
    scenes = SceneDataset(SceneConfig(height=24, width=32), count=2, seed=0)
    valid = torch.arange(24 * 32).reshape(24, 32) % 3 > 0
    samples = [scenes[0], replace(scenes[1], flow=scenes[1].flow * valid, flow_valid=valid)]
    batch = resize(Sample.stack(samples), 20, 40)
    for number, sample in enumerate(samples):
        alone = resize(sample, 20, 40)
        torch.testing.assert_close(batch.flow[number], alone.flow)
        torch.testing.assert_close(batch.depth[number], alone.depth)
        torch.testing.assert_close(batch.image2[number], alone.image2)
        assert torch.equal(batch.flow_valid[number], alone.flow_valid)


def test_same_size_gives_the_sample_itself() -> None:
    sample = sample_of(torch.ones(8, 8))
    assert resize(sample, 8, 8) is sample


def test_size_of_nothing_is_refused() -> None:
    with pytest.raises(InputError) as caught:
        resize(sample_of(torch.ones(8, 8)), 0, 5)
    assert str(caught.value) == "size (5 x 0) must be at least 1 x 1; choose a larger one"
