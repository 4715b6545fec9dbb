"""Stars of an image: local maxima, where they stand and how far from each other."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from syndiff.kernels.stars import mark_maxima

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Peaks", "find_peaks"]

_MOST_PIXELS = 1 << 20
# As many tell a median.


@dataclass(frozen=True)
class Peaks:
    """Local maxima of an image, the brightest first.

    Parameters
    ----------
    row, column : (n,) int64
        Their pixels.
    x, y : (n,) float64
        Where they stand, in pixels of the image: to 0.1 px for a star that stands alone.
    height : (n,) float64
        Value of the pixel over the median of the image.
    """

    row: NDArray[np.int64]
    column: NDArray[np.int64]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    height: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.row)

    def __getitem__(self, which: NDArray[np.bool_] | NDArray[np.intp]) -> Peaks:
        return Peaks(
            self.row[which], self.column[which], self.x[which], self.y[which], self.height[which]
        )

    def alone(self, radius_px: float, part: float) -> NDArray[np.bool_]:
        """Tell which peaks have no other one of some height near them.

        Parameters
        ----------
        radius_px : float
            How near.
        part : float
            Height of the other one over their own.

        Returns
        -------
        (n,) bool
            True where there is none.
        """
        from scipy.spatial import cKDTree

        alone = np.ones(len(self), np.bool_)
        if len(self) > 1:
            pairs = cKDTree(np.column_stack([self.x, self.y])).query_pairs(
                radius_px, output_type="ndarray"
            )
            first, second = np.concatenate([pairs, pairs[:, ::-1]]).T
            alone[first[self.height[second] > part * self.height[first]]] = False
        return alone


def find_peaks(
    image: NDArray[np.floating], least: NDArray[np.floating] | float, usable: NDArray[np.bool_]
) -> Peaks:
    """Return the local maxima of an image.

    Parameters
    ----------
    image : (ny, nx) float
        The image; NaN where unknown.
    least : (ny, nx) float or float
        How far a maximum must stand out over the median of the image.
    usable : (ny, nx) bool
        Pixels where a maximum may be.

    Returns
    -------
    Peaks
        Those that are the largest of 3 x 3 pixels, all of them known.
    """
    level = _level(image)
    if math.isnan(level):
        nothing = np.zeros(0)
        return Peaks(nothing.astype(int), nothing.astype(int), nothing, nothing, nothing)
    marked = np.empty(image.shape, np.bool_)
    limits = np.ascontiguousarray(np.broadcast_to(least, image.shape), image.dtype)
    mark_maxima(np.ascontiguousarray(image), limits, level, marked)
    row, column = np.nonzero(marked & usable)
    order = np.argsort(level - image[row, column], kind="stable")
    row, column = row[order], column[order]

    def light(rows: NDArray[np.intp], columns: NDArray[np.intp]) -> NDArray[np.float64]:
        return np.asarray(image[rows, columns] - level, np.float64)

    height = light(row, column)
    y = row + _vertex(light(row - 1, column), height, light(row + 1, column))
    x = column + _vertex(light(row, column - 1), height, light(row, column + 1))
    return Peaks(row, column, x, y, height)


def _level(image: NDArray[np.floating]) -> float:
    """Return the median of an image, of every n-th row and column of a large one; NaN of none."""
    step = max(1, math.isqrt(image.size // _MOST_PIXELS))
    some = image[::step, ::step]
    known = some[np.isfinite(some)]
    return float(np.median(known)) if known.size else math.nan


def _vertex(
    before: NDArray[np.floating], middle: NDArray[np.floating], after: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Return where the parabola through the logarithms of three values is highest, -0.5 to 0.5."""
    least = 1e-3 * middle
    low, high = (np.log(np.maximum(v, least) / middle) for v in (before, after))
    bend = low + high
    return np.asarray(np.clip(0.5 * (low - high) / np.where(bend < 0, bend, -1.0), -0.5, 0.5))
