import io
import sys

import numpy as np
import pytest

from syndiff.errors import ConfigError
from syndiff.plots import Plane, StarPoints, draw_panel, draw_residuals
from syndiff.window import Window

WINDOW = Window(100, 200, 130, 220)


def planes(count=4):
    rng = np.random.default_rng(1)
    light = 100 + rng.exponential(10.0, WINDOW.shape)
    light[3, 4] = np.nan
    noise = rng.standard_normal(WINDOW.shape)
    crossed = np.zeros(WINDOW.shape, bool)
    crossed[5, 6] = True
    every = (
        Plane("FFI", light, "e-/s", "light"),
        Plane("Template", light - 100, "flux", "light"),
        Plane("Difference", noise, "noise", "signed", crossed),
        Plane("Coverage", np.ones(WINDOW.shape), "fraction", "fraction"),
    )
    return every[:count]


def pixels(png):
    from matplotlib.image import imread

    return imread(io.BytesIO(png), format="png")


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_is_a_png_with_every_image(count):
    png = draw_panel(planes(count), WINDOW, title="all", marks=[(110.5, 210.5)])
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    image = pixels(png)
    assert image.shape[0] > 300
    assert image[..., :3].std() > 0.1


def test_says_the_same_twice():
    assert draw_panel(planes(2), WINDOW) == draw_panel(planes(2), WINDOW)


@pytest.mark.parametrize("stretch", ["light", "signed", "fraction"])
@pytest.mark.parametrize("value", [0.0, 5.0, np.nan])
def test_flat_images_can_be_drawn(stretch, value):
    flat = np.full(WINDOW.shape, value)
    assert draw_panel([Plane("flat", flat, "", stretch)], WINDOW)


def test_rows_go_up_and_marks_stand_on_their_pixel():
    dark = np.zeros(WINDOW.shape)
    dark[-1, :] = 1.0  # the last row is drawn at the top, in the brightest colour
    image = pixels(draw_panel([Plane("one", dark, "", "light")], WINDOW))
    yellow = (image[..., 0] > 0.95) & (image[..., 1] > 0.85) & (image[..., 2] < 0.5)
    rows = np.nonzero(yellow[:, : image.shape[1] // 2].any(1))[0]
    assert rows.mean() < image.shape[0] / 3
    marked = draw_panel([Plane("one", dark, "", "light")], WINDOW, marks=[(101, 201)])
    changed = np.abs(pixels(marked) - image).sum(-1) > 0.1
    rows, columns = np.nonzero(changed)
    assert rows.mean() > image.shape[0] / 2
    assert columns.mean() < image.shape[1] / 2


def test_leaves_no_state_behind():
    before = "matplotlib.pyplot" in sys.modules
    draw_panel(planes(1), WINDOW)
    assert ("matplotlib.pyplot" in sys.modules) == before


def test_nothing_to_draw():
    with pytest.raises(ConfigError, match="a panel needs images: give at least one"):
        draw_panel([], WINDOW)


def test_another_shape():
    with pytest.raises(ConfigError, match=r"FFI has the shape \(3, 3\), its window 100,200"):
        draw_panel([Plane("FFI", np.zeros((3, 3)), "", "light")], WINDOW)


def stars(count=20):
    rng = np.random.default_rng(2)
    mag = rng.uniform(9, 15, count)
    left = 10 ** (0.4 * (mag - 18))
    return StarPoints(
        rng.uniform(100, 130, count), rng.uniform(200, 220, count), mag, left, left, left, left
    )


@pytest.mark.parametrize("count", [0, 1, 20])
def test_residuals_are_drawn(count):
    png = draw_residuals(planes()[2], WINDOW, stars(count), title="FFI - template")
    image = pixels(png)
    assert image.shape[:2] == (1350, 1725)
    assert image[..., :3].std() > 0.1


def test_panels_without_a_star_say_so():
    image = pixels(draw_residuals(planes()[2], WINDOW, stars(0), title="FFI - template"))
    for rows, columns in (
        (slice(200, 500), slice(200, 600)),
        (slice(850, 1200), slice(1000, 1500)),
    ):
        assert (image[rows, columns, :3].max(axis=-1) < 0.7).sum() > 100
