"""Local maxima of an image, and what stands in boxes around them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from syndiff.kernels.compile import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["mark_maxima", "measure_boxes", "sum_boxes"]


@njit(cache=True, nogil=True)
def mark_maxima(
    image: NDArray[np.floating], least: NDArray[np.floating], level: float, out: NDArray[np.bool_]
) -> None:
    """Mark the pixels that none of their eight neighbours exceeds.

    Parameters
    ----------
    image : (ny, nx) float
        The image; NaN where unknown: no maximum is there, nor beside it, nor at the border.
    least : (ny, nx) float
        How far a maximum must stand out over `level`.
    level : float
        Of the image.
    out : (ny, nx) bool
        Written.
    """
    ny, nx = image.shape
    out[:] = False
    for y in range(1, ny - 1):
        above, row, below = image[y - 1], image[y], image[y + 1]
        for x in range(1, nx - 1):
            value = row[x]
            # False for NaN in any of them.
            if value - level > least[y, x] and value >= row[x - 1] and value >= row[x + 1]:
                out[y, x] = (
                    value >= above[x - 1]
                    and value >= above[x]
                    and value >= above[x + 1]
                    and value >= below[x - 1]
                    and value >= below[x]
                    and value >= below[x + 1]
                )


@njit(cache=True, nogil=True)
def sum_boxes(
    image: NDArray[np.floating],
    model: NDArray[np.floating],
    noise: NDArray[np.floating],
    good: NDArray[np.bool_],
    places: tuple[NDArray[np.int64], NDArray[np.int64]],
    level: float,
    out: NDArray[np.float64],
) -> None:
    """Sum squares in 5 x 5 pixels around stars.

    Parameters
    ----------
    image, model, noise : (ny, nx) float
        Difference, what was subtracted, and the difference's standard deviation.
    good : (ny, nx) bool
        Pixels that count.
    places : two (n,) int64
        Rows and columns of the stars.
    level : float
        Of the model around stars.
    out : (n, 3) float64
        Written: squares of the difference less those of the noise, squares of the light, and the
        latter over those of the noise; NaN where a pixel doesn't count or lies beyond the border.
    """
    ny, nx = image.shape
    rows, columns = places
    for n in range(rows.size):
        y, x = rows[n], columns[n]
        out[n] = np.nan
        if y < 2 or y >= ny - 2 or x < 2 or x >= nx - 2:
            continue
        left, light, weight, whole = 0.0, 0.0, 0.0, True
        for j in range(y - 2, y + 3):
            for i in range(x - 2, x + 3):
                whole &= good[j, i]
                variance = float(noise[j, i]) ** 2
                square = (float(model[j, i]) - level) ** 2
                left += float(image[j, i]) ** 2 - variance
                light += square
                weight += square / variance if variance > 0 else 0.0
        if whole:
            out[n, 0], out[n, 1], out[n, 2] = left, light, weight


@njit(cache=True, nogil=True)
def measure_boxes(
    image: NDArray[np.floating],
    model: NDArray[np.floating],
    noise: NDArray[np.floating],
    places: tuple[NDArray[np.int64], NDArray[np.int64]],
    out: NDArray[np.float64],
) -> None:
    """Measure what a difference leaves of stars in 5 x 5 pixels.

    Parameters
    ----------
    image, model, noise : (ny, nx) float
        Difference, what was subtracted, and the difference's standard deviation.
    places : two (n,) int64
        Rows and columns of the stars, 6 pixels or more within the border.
    out : (n, 5) float64
        Written: flux of the model over its surroundings (the median of the two outermost rings of
        13 x 13 pixels); sum of the difference and its noise, over that; largest magnitude of the
        difference and of the noise, over the model's largest pixel. NaN where there is no light.
    """
    rows, columns = places
    around = np.empty(88)
    for n in range(rows.size):
        y, x = rows[n], columns[n]
        count = 0
        for j in range(y - 6, y + 7):
            for i in range(x - 6, x + 7):
                is_ring = abs(j - y) > 4 or abs(i - x) > 4
                if is_ring and np.isfinite(model[j, i]):
                    around[count] = model[j, i]
                    count += 1
        out[n] = np.nan
        if count == 0:
            continue
        level = np.median(around[:count])
        flux, left, variance, top, worst, noisiest = 0.0, 0.0, 0.0, -np.inf, 0.0, 0.0
        for j in range(y - 2, y + 3):
            for i in range(x - 2, x + 3):
                light = float(model[j, i]) - level
                flux += light
                left += float(image[j, i])
                variance += float(noise[j, i]) ** 2
                top = max(top, light)
                worst = max(worst, abs(float(image[j, i])))
                noisiest = max(noisiest, float(noise[j, i]))
        if flux > 0 and top > 0:
            out[n, 0], out[n, 1], out[n, 2] = flux, left / flux, np.sqrt(variance) / flux
            # What is unknown in a pixel is unknown of the whole box.
            known = np.isfinite(left) and np.isfinite(variance)
            out[n, 3] = worst / top if known else np.nan
            out[n, 4] = noisiest / top if known else np.nan
