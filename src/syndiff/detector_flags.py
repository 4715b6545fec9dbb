"""What TESS's own detectors spoil: straps, saturated pixels, bleed trails."""

from __future__ import annotations

import functools
from importlib import resources
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtr

from syndiff.masks import DataQuality

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from syndiff.window import Window

__all__ = ["FULL_WELL_E", "flag_detector", "strap_columns"]

FULL_WELL_E = 2.0e5
"""Electrons that a pixel holds (TESS Instrument Handbook, section 4.3; Ricker et al. 2015)."""

EXPOSURE_S = 2.0
"""Charge is read out every 2 s, however long an FFI's cadence is."""

ZERO_POINT_MAG = 20.44
"""T of one electron per second (TESS Instrument Handbook)."""

PRF_FWHM_PX = 1.9
"""A Gaussian of this width has 0.27 of its light in the pixel that it is centred on: a star of
T = 6.9 then fills that pixel, as TESS does near 7."""

_SIGMA_PX = PRF_FWHM_PX / 2.3548
_REACH_PX = 12
_FLOW = 1.0
"""Bleed trails are drawn with all of the excess charge on either side: it may run either way."""


@functools.cache
def strap_columns() -> tuple[int, ...]:
    """Return the science columns, from 0, with straps beneath.

    Returns
    -------
    tuple of int
        Counted from the science window's first column; the same on every CCD.
    """
    text = resources.files("syndiff.data").joinpath("tess_straps.csv").read_text("ascii")
    rows = [line for line in text.splitlines() if line and not line.startswith("#")]
    return tuple(int(line) - 1 for line in rows[1:])


def flag_detector(
    quality: NDArray[np.int32],
    window: Window,
    science: Window,
    *,
    bright: Sequence[Sequence[float]],
    offset: tuple[float, float],
) -> None:
    """Add to a template's flags what TESS's detectors do to an FFI.

    Parameters
    ----------
    quality : (ny, nx) int32
        `DataQuality` bits; modified.
    window : Window
        FFI pixels that it holds.
    science : Window
        The CCD's science window.
    bright : sequence of (x, y, T)
        Stars that TESS may saturate, FFI pixels at offset (0, 0).
    offset : tuple of float
        dx, dy: stars stand this far from there.

    Notes
    -----
    A star of T sends ``2 s x 10^(0.4 (20.44 - T))`` electrons into an exposure, spread as a
    Gaussian. Pixels that get more than `FULL_WELL_E` are saturated. What a column gets beyond what
    its saturated pixels hold runs along it and fills one pixel with each full well; the trail is
    drawn that long upwards and downwards, as the charge may go either way. Columns are the axis
    along which TESS transfers charge: array rows grow along it.
    """
    columns = np.array(strap_columns()) + science.x0 - window.x0
    inside = columns[(columns >= 0) & (columns < quality.shape[1])]
    held = slice(max(0, science.y0 - window.y0), max(0, science.y1 - window.y0))
    quality[held, inside] |= np.int32(DataQuality.TESS_STRAP)
    for x, y, tmag in bright:
        _flag_star(quality, window, science, (x + offset[0], y + offset[1], tmag))


def _flag_star(
    quality: NDArray[np.int32], window: Window, science: Window, star: tuple[float, float, float]
) -> None:
    """Flag the saturated pixels of one star and its bleed trails."""
    x, y, tmag = star
    electrons = EXPOSURE_S * 10 ** (0.4 * (ZERO_POINT_MAG - tmag))
    rows, columns = (round(v) + np.arange(-_REACH_PX, _REACH_PX + 1) for v in (y, x))
    image = electrons * np.outer(_share(rows - y), _share(columns - x))
    full = image > FULL_WELL_E
    _set(quality, window, science, rows, columns, full, DataQuality.TESS_SATURATED)
    excess = np.where(full, image - FULL_WELL_E, 0).sum(axis=0)
    for k in np.flatnonzero(full.any(axis=0)):
        ends = rows[full[:, k]][[0, -1]]
        length = int(np.ceil(_FLOW * excess[k] / FULL_WELL_E))
        trail = np.arange(ends[0] - length, ends[1] + length + 1)
        mark = np.ones((trail.size, 1), np.bool_)
        _set(quality, window, science, trail, columns[k : k + 1], mark, DataQuality.TESS_BLEED)


def _share(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the parts of a Gaussian's light that fall into pixels along an axis."""
    edges = np.stack([distance - 0.5, distance + 0.5]) / _SIGMA_PX
    return np.asarray(ndtr(edges[1]) - ndtr(edges[0]), np.float64)


def _set(
    quality: NDArray[np.int32],
    window: Window,
    science: Window,
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    mark: NDArray[np.bool_],
    bit: DataQuality,
) -> None:
    """Set a bit at marked FFI pixels that both the window and the science window hold."""
    held = window.intersection(science)
    if held is None:
        return
    in_rows = (rows >= held.y0) & (rows < held.y1)
    in_columns = (columns >= held.x0) & (columns < held.x1)
    place = np.ix_(rows[in_rows] - window.y0, columns[in_columns] - window.x0)
    quality[place] |= np.where(mark[np.ix_(in_rows, in_columns)], int(bit), 0).astype(np.int32)
