import numpy as np

from syndiff.differences.mesh import mesh_background

Y, X = np.mgrid[:160, :200]


def test_a_smooth_surface_comes_back():
    rng = np.random.default_rng(1)
    wave = 5 * np.sin(X / 50) + 3 * np.cos(Y / 45)
    found = mesh_background(wave + rng.normal(size=wave.shape), 16)
    # 256 pixels a box: 0.08; bends of the surface between boxes, most at the border.
    assert np.std(found - wave) < 0.12
    assert np.abs(found - wave).max() < 0.6


def test_a_slope_goes_on_to_the_border():
    slope = 0.05 * X - 0.02 * Y
    np.testing.assert_allclose(mesh_background(slope, 16), slope, atol=0.05)


def test_light_in_one_box_does_not_count():
    rng = np.random.default_rng(2)
    image = rng.normal(size=X.shape)
    image[66:78, 81:95] += 1e3
    image[100:103] = np.nan
    assert np.abs(mesh_background(image, 16)).max() < 0.6


def test_boxes_without_pixels_are_zero():
    image = np.ones(X.shape)
    image[:, :70] = np.nan
    found = mesh_background(image, 16)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found[:, 120:], 1, atol=0.05)


def test_small_windows_have_none():
    assert not mesh_background(np.ones((63, 200)), 16).any()
