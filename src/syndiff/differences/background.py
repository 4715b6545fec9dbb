"""Polynomials that stand for the background, of an order that the pixels can tell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.polynomial.legendre import legvander

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["BEARABLE_VARIANCE", "SAFE_VARIANCE", "order_told", "polynomials"]

SAFE_VARIANCE = 0.04
"""Of the background anywhere in the window, in units of a pixel's: a fifth of its noise. All of
24 x 24 px tell order 2 so well, of 13 x 13 px order 1."""

BEARABLE_VARIANCE = 0.5
"""The same for a background that the pixels clearly have: 0.7 of a pixel's noise at the worst
place, most often a flagged corner."""

_SAMPLED = 64
# Pixels along the shorter side that are looked at.


def polynomials(shape: tuple[int, ...], order: int) -> NDArray[np.float64]:
    """Return products of Legendre polynomials up to a total order.

    Parameters
    ----------
    shape : (int, int)
        Rows and columns of the window.
    order : int
        Total order.

    Returns
    -------
    (terms, ny, nx) float64
        The constant first; each axis goes from -1 to 1.
    """
    y, x = (legvander(np.linspace(-1, 1, n), order) for n in shape)
    return np.stack(
        [np.outer(y[:, total - j], x[:, j]) for total in range(order + 1) for j in range(total + 1)]
    )


def order_told(
    used: NDArray[np.bool_], wanted: NDArray[np.bool_], most: int, variance: float = SAFE_VARIANCE
) -> int:
    """Return the largest order whose polynomial is told well at every pixel that needs it.

    Parameters
    ----------
    used : (ny, nx) bool
        Pixels that the polynomial is fitted to.
    wanted : (ny, nx) bool
        Pixels that it is taken at.
    most : int
        Order at most.
    variance : float
        What "well" is: variance of the polynomial at most, over that of a pixel.

    Returns
    -------
    int
        0 to `most`; 0 also where not even a constant is told well.

    Notes
    -----
    The variance of a fitted value at a pixel is ``p (P^T P)^-1 p`` times that of a pixel; beyond
    the fitted pixels it grows with twice the order's power of the distance. Pixels count alike.
    """
    if most == 0 or not (used.any() and wanted.any()):
        return 0
    step = max(1, min(used.shape) // _SAMPLED)
    thinned = np.s_[::step, ::step]
    planes = polynomials(used.shape, most)[:, ::step, ::step]
    for order in range(most, 0, -1):
        terms = planes[: (order + 1) * (order + 2) // 2]
        fitted, taken = terms[:, used[thinned]], terms[:, wanted[thinned]]
        normal = step**2 * fitted @ fitted.T
        if np.linalg.cond(normal) > 1e8:
            continue
        errors = np.einsum("kn,kn->n", taken, np.linalg.solve(normal, taken))
        if errors.max() <= variance:
            return order
    return 0
