"""A scene sampled twice a pixel at an image's pixels, for a kernel to act on."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from syndiff.differences.matching import FineModel
from syndiff.errors import RenderingError
from syndiff.kernels.sample import sample_field
from syndiff.scenes.scene import SAMPLES_PER_PX
from syndiff.sky.displacement import Displacement
from syndiff.templates.template import interpolation_table

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from syndiff.window import Window

__all__ = ["FINE_PER_PX", "refine_file", "sample_finely"]

FINE_PER_PX = 2
"""Samples per pixel and axis that a kernel acts on.

At one a pixel the best kernel of 9 x 9 pixels leaves 4 % of a star's peak at sigma 40.
"""

_REACH_PX = 6 / SAMPLES_PER_PX
# Samples that an interpolation reaches beyond a place.


def sample_finely(
    flux: NDArray[np.float32],
    origin: tuple[int, int],
    window: Window,
    *,
    displacement: Displacement,
    pad_px: int,
) -> FineModel:
    """Return a scene as it stands around a window of an FFI, two samples a pixel and axis.

    Parameters
    ----------
    flux : (rows, columns) float32
        The scene, four samples a pixel and axis.
    origin : (int, int)
        Pixel (x, y) of its first sample.
    window : Window
        FFI pixels.
    displacement : Displacement
        How far sources stand in the FFI from where they stand in the scene.
    pad_px : int
        Pixels to sample around the window.

    Returns
    -------
    FineModel
        NaN where the scene doesn't reach.
    """
    grown = window.grown(pad_px)
    margin = displacement.largest(grown) + _REACH_PX + 0.5
    rows = _reached(grown.y0 - origin[1], grown.shape[0], flux.shape[0], margin)
    columns = _reached(grown.x0 - origin[0], grown.shape[1], flux.shape[1], margin)
    table = interpolation_table()
    corner = origin[1] * SAMPLES_PER_PX, origin[0] * SAMPLES_PER_PX
    phases = np.full((FINE_PER_PX, FINE_PER_PX, *grown.shape), np.nan, np.float32)
    inside = np.empty((len(rows), len(columns)), np.float32)
    for j, i in np.ndindex(FINE_PER_PX, FINE_PER_PX):
        places = displacement.places(
            grown.x0 + columns.start + i / FINE_PER_PX, grown.y0 + rows.start + j / FINE_PER_PX
        )
        sample_field(flux, corner, SAMPLES_PER_PX, table, places, inside)
        phases[j, i, rows.start : rows.stop, columns.start : columns.stop] = inside
    return FineModel(phases, pad_px)


def _reached(start_px: float, count: int, samples: int, margin: float) -> range:
    """Return which of some pixels along an axis a scene of so many samples reaches."""
    first = max(0, math.ceil(margin - start_px))
    last = math.floor((samples - 1) / SAMPLES_PER_PX - margin - start_px)
    return range(min(first, count), max(min(last + 1, count), min(first, count)))


def refine_file(
    flux: NDArray[np.float32], oversample: int, window: Window, *, pad_px: int
) -> FineModel:
    """Return an oversampled template as a kernel needs it.

    Parameters
    ----------
    flux : (oversample * ny, oversample * nx) float32
        FLUX_SUM of the window, samples at ``(k + 0.5) / oversample - 0.5`` from pixels' centres.
    oversample : int
        2 or 4: samples of 2 are taken as they are, a quarter of a pixel beside the centres; 4 are
        interpolated as a scene is.
    window : Window
        FFI pixels.
    pad_px : int
        Pixels to add around the window; unknown.

    Returns
    -------
    FineModel
        NaN around the window.

    Raises
    ------
    RenderingError
        For another number of samples.
    """
    whole = flux * np.float32(oversample**2)
    first = 0.5 / oversample - 0.5
    if oversample == SAMPLES_PER_PX:
        beside = Displacement.constant((first, first), (window.y1, window.x1))
        return sample_finely(
            whole, (window.x0, window.y0), window, displacement=beside, pad_px=pad_px
        )
    if oversample != FINE_PER_PX:
        raise RenderingError(
            f"a template of {oversample} samples per pixel can't be convolved here: make one with "
            "`syndiff downsample` with `oversample` 4 (or 2)"
        )
    rows, columns = window.shape
    split = whole.reshape(rows, FINE_PER_PX, columns, FINE_PER_PX).transpose(1, 3, 0, 2)
    around = ((0, 0), (0, 0), (pad_px, pad_px), (pad_px, pad_px))
    return FineModel(np.pad(split, around, constant_values=np.nan), pad_px, first)
