"""A field's scene and frames in closed form: a series without a file."""

import numpy as np
from differencesky import AROUND, TILE_PIXELS, draw_strip
from finestars import SCALE, TEMPLATE_SIGMA, draw

from syndiff.ffi.frame import Frame
from syndiff.ffi.pixels import FfiPixels
from syndiff.layout import Detector
from syndiff.lightcurves.frames import FramePixels
from syndiff.lightcurves.prepare import find_steady_part
from syndiff.lightcurves.series import FieldScene, Series
from syndiff.scenes.prf import PS1_VARIANCE_PX2, GaussianResponse, sky_jacobian
from syndiff.scenes.store import StoredScene
from syndiff.simulation.ffi import SCIENCE, example_cards
from syndiff.window import Window

FIELD = Window(1008, 1028, 1064, 1084)
EXPOSURE_S = 1440.0
TARGET = (1041.3, 1058.6)
"""FFI pixels; stars keep away from it."""


def reference():
    """The pixel grid that the scene is made for."""
    from astropy.io import fits

    header = fits.Header.fromstring(example_cards(), sep="\n")
    return Frame.from_header(header, Detector(20, 3, 3), (2078, 2136), SCIENCE)


def stars(seed=5, count=70):
    """Stars (x, y, template flux), T 9.5 to 16, none within 5 px of the target."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(AROUND.x0, AROUND.x1, 3 * count)
    y = rng.uniform(AROUND.y0, AROUND.y1, 3 * count)
    away = np.hypot(x - TARGET[0], y - TARGET[1]) > 5
    mags = np.linspace(9.5, 16, count)
    return np.column_stack(
        [x[away][:count], y[away][:count], 10 ** (-0.4 * (mags - 20.44)) / SCALE]
    )


def field_scene(sky):
    """The scene, and the Gaussian response that its closed form has."""
    frame = reference()
    middle = (FIELD.x0 + FIELD.x1) / 2, (FIELD.y0 + FIELD.y1) / 2
    ps1_px = 1 / np.sqrt(np.abs(np.linalg.det(sky_jacobian(frame, *middle))))
    sigma = np.sqrt((TEMPLATE_SIGMA * ps1_px) ** 2 - PS1_VARIANCE_PX2)
    stored = StoredScene(draw_strip(sky), (AROUND.x0, AROUND.y0))
    assert FIELD.grown(4) == Window(1004, 1024, 1068, 1088) == TILE_PIXELS
    return FieldScene(frame, GaussianResponse(frame, float(sigma)), stored, FIELD)


def wide(sigma=0.58, shift=(0.0, 0.0)):
    """A response wider than the template's, with wings."""
    return lambda *_: [(0.85, *shift, sigma), (0.15, *shift, 1.0)]


def frame_of(
    sky,
    number,
    *,
    flux=0.0,
    pointing=(0.0, 0.0),
    jitter=(0.0, 0.0),
    sigma=0.58,
    noise=True,
    background=100.0,
    spoil=None,
    quality=0,
):
    """A frame: the header knows the pointing, not the jitter; `flux` e-/s at the target."""
    dx, dy = (a + b for a, b in zip(pointing, jitter, strict=True))
    seen = np.concatenate([sky, [(*TARGET, flux / SCALE)]]) + np.array([dx, dy, 0.0])
    y, x = (np.arange(a, b, dtype=float) for a, b in ((FIELD.y0, FIELD.y1), (FIELD.x0, FIELD.x1)))
    image = SCALE * draw(seen, y, x, wide(sigma))
    image += background + np.linspace(-3, 3, x.size) + np.linspace(-2, 2, y.size)[:, None]
    uncertainty = np.sqrt(image * EXPOSURE_S + 70_000) / EXPOSURE_S
    if noise:
        image += uncertainty * np.random.default_rng([7, number]).standard_normal(image.shape)
    if spoil is not None:
        spoil(image)
    dead = np.isnan(image).astype(np.uint8)
    header = reference().header()
    header["CRPIX1"] += pointing[0]
    header["CRPIX2"] += pointing[1]
    grid = Frame.from_header(header, Detector(20, 3, 3), (2078, 2136), SCIENCE)
    pixels = FfiPixels(
        image, np.where(dead, np.nan, uncertainty), np.zeros(image.shape, bool), dead, False
    )
    start = 1860.0 + number / 48
    return FramePixels(
        f"frame{number:04d}", grid, start, start + 1 / 48, True, EXPOSURE_S, quality, pixels
    )


def series_of(sky, frames, target=TARGET):
    """The series with its steady part found from some frames."""
    field = field_scene(sky)
    return Series(field, find_steady_part(field, target, frames), target)
