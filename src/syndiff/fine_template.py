"""A scene sampled twice a pixel at an image's pixels, for a kernel to act on."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from syndiff.kernels.sample import sample_constant
from syndiff.matching import FineModel
from syndiff.scene import SAMPLES_PER_PX
from syndiff.template import interpolation_taps

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from syndiff.window import Window

__all__ = ["FINE_PER_PX", "sample_finely", "split_phases"]

FINE_PER_PX = 2
"""Samples per pixel and axis that a kernel acts on.

At one a pixel the best kernel of 9 x 9 pixels leaves 4 % of a star's peak at sigma 40.
"""

_TAPS_BEFORE = 5
_TAPS_AFTER = 6
# Samples that `interpolation_taps` reaches before and after a place.


def sample_finely(
    flux: NDArray[np.float32],
    origin: tuple[float, float],
    window: Window,
    *,
    offset: tuple[float, float],
    pad_px: int,
) -> FineModel:
    """Return a scene as it stands around a window, two samples a pixel and axis.

    Parameters
    ----------
    flux : (rows, columns) float32
        The scene, four samples a pixel and axis.
    origin : (float, float)
        FFI pixel (x, y) of its first sample.
    window : Window
        FFI pixels.
    offset : (float, float)
        (dx, dy) in pixels: how far every source is moved.
    pad_px : int
        Pixels to sample around the window.

    Returns
    -------
    FineModel
        NaN where the scene doesn't reach.
    """
    grown = window.grown(pad_px)
    rows = _reached(grown.y0 - offset[1] - origin[1], FINE_PER_PX * grown.shape[0], flux.shape[0])
    columns = _reached(
        grown.x0 - offset[0] - origin[0], FINE_PER_PX * grown.shape[1], flux.shape[1]
    )
    fine = np.full([FINE_PER_PX * n for n in grown.shape], np.nan, np.float32)
    inside = np.empty((len(rows[0]), len(columns[0])), np.float32)
    sample_constant(
        flux,
        rows[1],
        columns[1],
        SAMPLES_PER_PX // FINE_PER_PX,
        interpolation_taps(rows[2]),
        interpolation_taps(columns[2]),
        inside,
    )
    fine[rows[0].start : rows[0].stop, columns[0].start : columns[0].stop] = inside
    return FineModel(split_phases(fine, FINE_PER_PX), pad_px)


def split_phases(fine: NDArray[np.float32], per_px: int) -> NDArray[np.float32]:
    """Return samples with those of one phase side by side.

    Parameters
    ----------
    fine : (f * rows, f * columns) float32
        Samples.
    per_px : int
        Samples per pixel and axis, f.

    Returns
    -------
    (f, f, rows, columns) float32
        A copy.
    """
    rows, columns = (n // per_px for n in fine.shape)
    split = fine.reshape(rows, per_px, columns, per_px).transpose(1, 3, 0, 2)
    return np.ascontiguousarray(split)


def _reached(start_px: float, count: int, samples: int) -> tuple[range, int, float]:
    """Return which fine samples of an axis a scene reaches, the first tap's sample, the fraction.

    Fine sample k lies at ``start_px + k / 2`` from the scene's first sample, which has `samples`.
    """
    step = SAMPLES_PER_PX // FINE_PER_PX
    place = start_px * SAMPLES_PER_PX
    whole = math.floor(place)
    first = max(0, math.ceil((_TAPS_BEFORE - whole) / step))
    stop = min(count, (samples - 1 - _TAPS_AFTER - whole) // step + 1)
    reached = range(first, max(first, stop))
    return reached, whole + step * first - _TAPS_BEFORE, place - whole
