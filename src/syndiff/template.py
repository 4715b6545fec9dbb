"""The product: templates sampled from a scene at an offset."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

from syndiff.kernels.sample import sample_boxes, sample_constant
from syndiff.masks import DataQuality
from syndiff.scene import AUX_SAMPLES_PER_PX, SAMPLES_PER_PX

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from syndiff.scene import SceneStrip
    from syndiff.window import Window

__all__ = [
    "MIN_COVERAGE",
    "Template",
    "interpolation_taps",
    "sample_template",
]

MIN_COVERAGE = 0.5
"""Below this part of the response covered, the flux says more about the gap than about the sky."""

_TAPS = 12
_KAISER_BETA = 12.0
_FULL = 0.999


@dataclass(frozen=True)
class Template:
    """A template's planes over a window of the FFI.

    Parameters
    ----------
    flux : (ny, nx) float32
        TESS-weighted PS1 flux in the pixel, AB zero point 25; NaN where less than half of the
        response is covered.
    count, mask : (ny, nx) int32
        PS1 pixels that contributed (weighted over bands), and those with any mask bit.
    uncertainty : (ny, nx) float32
        One standard deviation of `flux`; NaN as `flux`.
    coverage : (ny, nx) float32
        Part of the pixel's response that falls on valid data, 0 to 1.
    quality : (ny, nx) int32
        `DataQuality` bits.
    """

    flux: NDArray[np.float32]
    count: NDArray[np.int32]
    mask: NDArray[np.int32]
    uncertainty: NDArray[np.float32]
    coverage: NDArray[np.float32]
    quality: NDArray[np.int32]

    def embedded(self, held: Window, window: Window) -> Template:
        """Return the template over a larger window, without coverage where nothing was sampled.

        Parameters
        ----------
        held : Window
            FFI pixels that the planes hold.
        window : Window
            FFI pixels to hold; contains `held`.

        Returns
        -------
        Template
            The larger planes.
        """
        if held == window:
            return self
        outside = {"flux": np.nan, "uncertainty": np.nan, "quality": DataQuality.NO_COVERAGE}
        planes = {}
        for field in fields(self):
            plane = getattr(self, field.name)
            planes[field.name] = np.full(window.shape, outside.get(field.name, 0), plane.dtype)
            y, x = held.y0 - window.y0, held.x0 - window.x0
            planes[field.name][y : y + plane.shape[0], x : x + plane.shape[1]] = plane
        return Template(**planes)


def interpolation_taps(fraction: float) -> NDArray[np.float32]:
    """Return the weights that interpolate a scene between its samples.

    Parameters
    ----------
    fraction : float
        Place between two samples, 0 to 1.

    Returns
    -------
    (12,) float32
        Weights of samples -5 to 6; they sum to one.

    Notes
    -----
    Sinc with a Kaiser window, beta 12: errs by 2e-6 to 6e-6 of a star's peak at 4 samples per
    pixel (beta 6: 3e-4; 8 taps: 1e-4). Taps that don't sum to one err by 6e-4 pixel.
    """
    distance = np.arange(_TAPS) - (_TAPS // 2 - 1) - fraction
    inside = np.clip(1 - (distance / (_TAPS / 2)) ** 2, 0, None)
    taps = np.sinc(distance) * np.i0(_KAISER_BETA * np.sqrt(inside))
    return np.asarray(taps / taps.sum(), np.float32)


def sample_template(
    scene: SceneStrip, *, origin: tuple[float, float], window: Window, offset: tuple[float, float]
) -> Template:
    """Sample a scene at the pixels of a window, moved by an offset.

    Parameters
    ----------
    scene : SceneStrip
        Scene samples that reach 3.5 pixels beyond the window.
    origin : (float, float)
        FFI pixel (x, y) of the scene's first sample.
    window : Window
        FFI pixels of the template.
    offset : (float, float)
        (dx, dy): every source stands (+dx, +dy) TESS pixels from where the WCS puts it.

    Returns
    -------
    Template
        The planes over the window.
    """
    start = (window.x0 - offset[0] - origin[0], window.y0 - offset[1] - origin[1])
    flux = np.empty(window.shape, np.float32)
    (row, down), (column, right) = (_split(v * SAMPLES_PER_PX) for v in (start[1], start[0]))
    sample_constant(
        scene.flux,
        row - (_TAPS // 2 - 1),
        column - (_TAPS // 2 - 1),
        SAMPLES_PER_PX,
        interpolation_taps(down),
        interpolation_taps(right),
        flux,
    )
    variance = _sample_aux(scene.aux[0], start, window, _linear_taps)
    count = _sample_aux(scene.aux[1], start, window, _box_taps)
    flagged = _sample_aux(scene.aux[2], start, window, _box_taps)
    coverage = np.clip(_sample_aux(scene.aux[3], start, window, _linear_taps), 0, 1)
    quality = _sample_flags(scene.flags, start, window)
    quality[coverage < _FULL] |= np.int32(DataQuality.PARTIAL_COVERAGE)
    uncovered = coverage < MIN_COVERAGE
    quality[uncovered] |= np.int32(DataQuality.NO_COVERAGE)
    uncertainty = np.sqrt(variance)
    flux[uncovered] = np.nan
    uncertainty[uncovered] = np.nan
    return Template(
        flux,
        np.rint(count).astype(np.int32),
        np.rint(flagged).astype(np.int32),
        uncertainty,
        coverage,
        quality,
    )


def _split(value: float) -> tuple[int, float]:
    whole = math.floor(value)
    return whole, value - whole


def _linear_taps(fraction: float) -> NDArray[np.float32]:
    """Return weights of two samples for a linear interpolation; first sample 0."""
    return np.array([0, 1 - fraction, fraction, 0], np.float32)


def _box_taps(fraction: float) -> NDArray[np.float32]:
    """Return how much of each of four samples lies within a pixel.

    The pixel is centred between the second and the third; a sample is half a pixel wide.
    """
    distance = np.abs(np.arange(-1, 3) - fraction)
    return np.asarray(np.clip(1.5 - distance, 0, 1), np.float32)


def _sample_aux(
    plane: NDArray[np.float32],
    start: tuple[float, float],
    window: Window,
    taps: Callable[[float], NDArray[np.float32]],
) -> NDArray[np.float32]:
    (row, down), (column, right) = (_split(v * AUX_SAMPLES_PER_PX) for v in (start[1], start[0]))
    out = np.empty(window.shape, np.float32)
    sample_constant(plane, row - 1, column - 1, AUX_SAMPLES_PER_PX, taps(down), taps(right), out)
    return out


def _sample_flags(
    flags: NDArray[np.uint8], start: tuple[float, float], window: Window
) -> NDArray[np.int32]:
    """Combine the flags within one pixel of each pixel's centre, where most of its light is."""
    row, column = (round(v * AUX_SAMPLES_PER_PX) - AUX_SAMPLES_PER_PX for v in (start[1], start[0]))
    out = np.empty(window.shape, np.uint8)
    size = 2 * AUX_SAMPLES_PER_PX + 1
    sample_boxes(flags, row, column, AUX_SAMPLES_PER_PX, size, out)
    return out.astype(np.int32)
