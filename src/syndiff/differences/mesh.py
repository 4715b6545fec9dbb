"""A smooth surface through the medians of boxes, as a background."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["mesh_background"]

_LEAST_BOXES = 4
_OUTLYING = 10.0
_LEAST_PIXELS = 50
# Known pixels of a box whose median means something.


def mesh_background(image: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Return a smooth surface through the medians of boxes.

    Parameters
    ----------
    image : (ny, nx) float64
        What is left of an image once stars and a polynomial are subtracted; NaN where unknown.
    size : int
        Side of a box in pixels, roughly.

    Returns
    -------
    (ny, nx) float64
        Zero everywhere where fewer than 4 boxes fit along a side. Boxes with fewer than 50 known
        pixels count as zero.

    Notes
    -----
    Medians of boxes, joined by a bicubic spline that goes on straight beyond the outermost boxes'
    centres. Boxes that differ from the median of 3 x 3 by 10 times the usual are given that.
    """
    counts = [n // size for n in image.shape]
    if min(counts) < _LEAST_BOXES:
        return np.zeros(image.shape)
    edges = [np.linspace(0, n, k + 1).astype(int) for n, k in zip(image.shape, counts, strict=True)]
    medians = [
        [_median(image[y0:y1, x0:x1]) for x0, x1 in itertools.pairwise(edges[1])]
        for y0, y1 in itertools.pairwise(edges[0])
    ]
    grid = _without_outliers(np.array(medians))
    centres = [(edge[1:] + edge[:-1] - 1) / 2 for edge in edges]
    for axis, middle in enumerate(centres):
        grid = _extended(grid, axis)
        centres[axis] = np.concatenate(
            [[2 * middle[0] - middle[1]], middle, [2 * middle[-1] - middle[-2]]]
        )
    down, across = (_spline(*axis) for axis in zip(centres, image.shape, strict=True))
    return np.asarray(down @ grid.astype(image.dtype) @ across.T, image.dtype)


def _spline(places: NDArray[np.float64], pixels: int) -> NDArray[np.float64]:
    """Return what a spline through values at some places is at every pixel, (pixels, places)."""
    from scipy.interpolate import make_interp_spline

    return np.asarray(make_interp_spline(places, np.eye(len(places)))(np.arange(pixels)))


def _without_outliers(grid: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return box values with those that stand out of their neighbours replaced by the median."""
    from scipy.ndimage import median_filter

    # Extended first: repeated border values would make a slope's border stand out.
    around = _extended(_extended(grid, 0), 1)
    smooth = np.asarray(median_filter(around, 3))[1:-1, 1:-1]
    apart = np.abs(grid - smooth)
    return np.where(apart > _OUTLYING * np.median(apart), smooth, grid)


def _extended(grid: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """Return a grid with one more value before and after, on straight lines."""
    lines = np.moveaxis(grid, axis, 0)
    more = np.concatenate([[2 * lines[0] - lines[1]], lines, [2 * lines[-1] - lines[-2]]])
    return np.moveaxis(more, 0, axis)


def _median(box: NDArray[np.float64]) -> float:
    known = box[np.isfinite(box)]
    return float(np.median(known)) if known.size >= _LEAST_PIXELS else 0.0
