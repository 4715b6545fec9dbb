"""A scene sampled twice a pixel at an image's pixels, for a kernel to act on."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING

import numpy as np

from syndiff.differences.matching import FineModel
from syndiff.errors import RenderingError
from syndiff.kernels.resample import SPARE, resample
from syndiff.kernels.sample import sample_field
from syndiff.scenes.scene import SAMPLES_PER_PX
from syndiff.sky.displacement import Displacement
from syndiff.templates.template import interpolation_table, interpolation_taps

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from syndiff.window import Window

__all__ = ["FINE_PER_PX", "refine_file", "sample_finely", "sample_widely"]

FINE_PER_PX = 2
"""Samples per pixel and axis that a kernel acts on.

At one a pixel the best kernel of 9 x 9 pixels leaves 4 % of a star's peak at sigma 40.
"""

_REACH_PX = 6 / SAMPLES_PER_PX
# Samples that an interpolation reaches beyond a place.


_RUNS_PX = (64, 32, 16, 8)
_MOST_VARIATION = 8e-3
# Samples by which a displacement may vary within a run of pixels: fluxes err by 3e-5 of a star's
# peak there, by less everywhere else.
_STEPS = 1024
# Of the table of weights, in a sample.


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
    return _sample(flux, origin, window, displacement, pad_px, run_px=0)


def sample_widely(
    flux: NDArray[np.float32],
    origin: tuple[int, int],
    window: Window,
    *,
    displacement: Displacement,
    pad_px: int,
) -> FineModel:
    """Return what `sample_finely` does for a large window, to 3e-5 of a star's peak.

    Parameters
    ----------
    flux, origin, window, displacement, pad_px
        As of `sample_finely`.

    Returns
    -------
    FineModel
        NaN where the scene doesn't reach.
    """
    slopes = (np.abs(np.diff(nodes, axis=1)).max() for nodes in (displacement.dx, displacement.dy))
    per_px = SAMPLES_PER_PX * max(slopes) / displacement.spacing
    run_px = next((run for run in _RUNS_PX if run * per_px <= _MOST_VARIATION), 0)
    return _sample(flux, origin, window, displacement, pad_px, run_px=run_px)


def _sample(
    flux: NDArray[np.float32],
    origin: tuple[int, int],
    window: Window,
    displacement: Displacement,
    pad_px: int,
    *,
    run_px: int,
) -> FineModel:
    """Sample the part of a padded window that a scene reaches; exactly where runs are of 0 px."""
    grown = window.grown(pad_px)
    margin = displacement.largest(grown) + _REACH_PX + 0.5
    rows = _reached(grown.y0 - origin[1], grown.shape[0], flux.shape[0], margin)
    columns = _reached(grown.x0 - origin[0], grown.shape[1], flux.shape[1], margin)
    corner = origin[1] * SAMPLES_PER_PX, origin[0] * SAMPLES_PER_PX
    first = grown.y0 + rows.start, grown.x0 + columns.start
    phases = np.full((FINE_PER_PX, FINE_PER_PX, *grown.shape), np.nan, np.float32)
    inside = phases[:, :, rows.start : rows.stop, columns.start : columns.stop]
    if run_px and inside.size:
        field = displacement.dx, displacement.dy, displacement.spacing
        start = float(first[0]), float(first[1])
        resample(flux, corner, SAMPLES_PER_PX, _wide_table(), field, start, run_px, inside)
        return FineModel(phases, pad_px)
    part = np.empty((len(rows), len(columns)), np.float32)
    for j, i in np.ndindex(FINE_PER_PX, FINE_PER_PX):
        places = displacement.places(first[1] + i / FINE_PER_PX, first[0] + j / FINE_PER_PX)
        sample_field(flux, corner, SAMPLES_PER_PX, interpolation_table(), places, part)
        inside[j, i] = part
    return FineModel(phases, pad_px)


@functools.cache
def _wide_table() -> NDArray[np.float32]:
    """Return the weights that interpolate a scene, at fractions a little beyond a sample too."""
    steps = np.arange(round(_STEPS * (1 + 2 * SPARE)) + 1)
    return np.stack([interpolation_taps(k / _STEPS - SPARE) for k in steps])


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
