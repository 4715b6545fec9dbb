"""What TESS's own detectors spoil: straps, saturated pixels, bleed trails."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtr

from syndiff.config import TESS_ZERO_POINT
from syndiff.constants import FRAME_CYCLE_S, FULL_WELL_E
from syndiff.masks import DataQuality

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from syndiff.window import Window

__all__ = ["flag_detector", "strap_columns"]

SIGMA_PX = 0.6
"""Width of the star's image, sharp as in the middle of a camera's field: with 0.35 of its light in
the pixel it is centred on, a star of T = 6.8 fills that pixel. The brightest pixel of TESS's stars
holds 0.2 to 0.4 of their light (the same page), so they saturate at T = 6.2 to 6.95."""

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
        `DataQuality` bits; modified. One or more samples per pixel and axis: all of a pixel get
        the same.
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
    A star of T sends ``2 s x 10^(0.4 (TESS_ZERO_POINT - T))`` electrons into a frame, spread as a
    Gaussian. Pixels that get more than `FULL_WELL_E` are saturated. What a column gets beyond what
    its saturated pixels hold runs along it and fills one pixel with each full well; the trail is
    drawn that long upwards and downwards, as the charge may go either way. Columns are the axis
    along which TESS transfers charge: array rows grow along it.
    """
    samples = quality.shape[0] // window.shape[0]
    if samples > 1:
        flags = np.zeros(window.shape, np.int32)
        flag_detector(flags, window, science, bright=bright, offset=offset)
        quality |= np.repeat(np.repeat(flags, samples, 0), samples, 1)
        return
    columns = np.array(strap_columns()) + science.x0 - window.x0
    inside = columns[(columns >= 0) & (columns < quality.shape[1])]
    held = slice(max(0, science.y0 - window.y0), max(0, science.y1 - window.y0))
    quality[held, inside] |= np.int32(DataQuality.TESS_STRAP)
    pixels = window.intersection(science)
    if pixels is None:
        return
    for x, y, tmag in bright:
        for bit, patch in _spoilt(x + offset[0], y + offset[1], tmag):
            part = patch.within(pixels)
            place = np.ix_(part.rows - window.y0, part.columns - window.x0)
            quality[place] |= np.where(part.mark, int(bit), 0).astype(np.int32)


def _spoilt(x: float, y: float, tmag: float) -> Iterator[tuple[DataQuality, _Patch]]:
    """Yield the saturated pixels of one star and its bleed trails."""
    electrons = FRAME_CYCLE_S * 10 ** (0.4 * (TESS_ZERO_POINT - tmag))
    rows, columns = (round(v) + np.arange(-_REACH_PX, _REACH_PX + 1) for v in (y, x))
    down, right = (_share(rows.astype(float) - y), _share(columns.astype(float) - x))
    image = electrons * np.outer(down, right)
    full = image > FULL_WELL_E
    yield DataQuality.TESS_SATURATED, _Patch(rows, columns, full)
    excess = np.where(full, image - FULL_WELL_E, 0).sum(axis=0)
    for k in np.flatnonzero(full.any(axis=0)):
        ends = rows[full[:, k]][[0, -1]]
        length = int(np.ceil(_FLOW * excess[k] / FULL_WELL_E))
        trail = np.arange(ends[0] - length, ends[1] + length + 1)
        mark = np.ones((trail.size, 1), np.bool_)
        yield DataQuality.TESS_BLEED, _Patch(trail, columns[k : k + 1], mark)


def _share(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the parts of a Gaussian's light that fall into pixels along an axis."""
    edges = np.stack([distance - 0.5, distance + 0.5]) / SIGMA_PX
    return np.asarray(ndtr(edges[1]) - ndtr(edges[0]), np.float64)


@dataclass(frozen=True, eq=False)
class _Patch:
    """FFI rows and columns, and which of their pixels are meant."""

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    mark: NDArray[np.bool_]

    def within(self, held: Window) -> _Patch:
        """Return the part that a window holds."""
        rows = (self.rows >= held.y0) & (self.rows < held.y1)
        columns = (self.columns >= held.x0) & (self.columns < held.x1)
        return _Patch(self.rows[rows], self.columns[columns], self.mark[np.ix_(rows, columns)])
