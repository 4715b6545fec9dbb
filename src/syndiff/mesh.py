"""A smooth surface through the medians of boxes, as a background."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["mesh_background"]

_LEAST_BOXES = 4
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
    Medians of boxes, filtered by the median of 3 x 3 of them, joined by a bicubic spline that is
    level beyond the outermost boxes' centres.
    """
    from scipy.interpolate import RectBivariateSpline
    from scipy.ndimage import median_filter

    counts = [n // size for n in image.shape]
    if min(counts) < _LEAST_BOXES:
        return np.zeros(image.shape)
    edges = [np.linspace(0, n, k + 1).astype(int) for n, k in zip(image.shape, counts, strict=True)]
    medians = [
        [_median(image[y0:y1, x0:x1]) for x0, x1 in itertools.pairwise(edges[1])]
        for y0, y1 in itertools.pairwise(edges[0])
    ]
    smooth = median_filter(np.array(medians), 3, mode="nearest")
    centres = [(edge[1:] + edge[:-1] - 1) / 2 for edge in edges]
    down, across = (
        np.clip(np.arange(n), middle[0], middle[-1])
        for n, middle in zip(image.shape, centres, strict=True)
    )
    return np.asarray(RectBivariateSpline(*centres, smooth)(down, across))


def _median(box: NDArray[np.float64]) -> float:
    known = box[np.isfinite(box)]
    return float(np.median(known)) if known.size >= _LEAST_PIXELS else 0.0
