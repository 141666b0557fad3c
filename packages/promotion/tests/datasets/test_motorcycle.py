from __future__ import annotations

import sys
from types import ModuleType

import numpy as np
import pytest
import torch

from promotion.datasets import motorcycle
from tokenseek_common import InputError


def test_motorcycle_has_flow_and_depth_of_its_disparity(monkeypatch: pytest.MonkeyPatch) -> None:
    left, right = np.zeros((4, 5, 3), np.uint8), np.full((4, 5, 3), 255, np.uint8)
    disparity = np.full((4, 5), 30.0)
    disparity[0, 0], disparity[0, 1] = np.nan, np.inf
    package, pictures = ModuleType("skimage"), ModuleType("skimage.data")
    vars(pictures)["stereo_motorcycle"] = lambda: (left, right, disparity)
    monkeypatch.setitem(sys.modules, "skimage", package)
    monkeypatch.setitem(sys.modules, "skimage.data", pictures)

    sample = motorcycle()
    assert sample.image1.eq(0).all()
    assert sample.image2.eq(1).all()
    assert sample.flow[:, 1, 1].tolist() == [-30, 0]
    assert sample.depth[1, 1] == pytest.approx(994.978 * 0.193001 / (30 + 31.086))
    assert torch.equal(sample.flow_valid, sample.depth_valid)
    assert sample.flow_valid.logical_not().nonzero().tolist() == [[0, 0], [0, 1]]
    assert not sample.depth[0, :2].any()


def test_motorcycle_without_its_package_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "skimage", None)
    monkeypatch.setitem(sys.modules, "skimage.data", None)
    with pytest.raises(InputError) as caught:
        motorcycle()
    assert str(caught.value) == (
        'motorcycle must be read from scikit-image, which is absent; pip install "scikit-image"'
    )
