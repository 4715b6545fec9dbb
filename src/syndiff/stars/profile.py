"""A point source on the 2" cells of a skycell, as the reduction would leave it there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtr

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["BLUR_PX2", "CELL_PX", "Stamp", "point_source"]

CELL_PX = 8
"""PS1 pixels along a 2" cell."""

PIXEL_PX2 = 1 / 12
BOX_PX2 = (2**2 - 1) / 12
BLUR_PX2 = PIXEL_PX2 + BOX_PX2 + CELL_PX**2 / 4
"""Second moment that PS1's pixel, boxes of two and the quadratic B-spline give a point, px^2."""

_REACH_SIGMAS = 6.0


@dataclass(frozen=True, eq=False)
class Stamp:
    """A star's light on a patch of cells.

    Parameters
    ----------
    row, column : int
        The first cell, counted in the skycell's own grid; may be negative.
    values : (ny, nx) float64
        Light per cell; sums to 1.
    """

    row: int
    column: int
    values: NDArray[np.float64]

    def inside(self, shape: tuple[int, int]) -> tuple[tuple[slice, slice], NDArray[np.float64]]:
        """Return the part that is inside a grid.

        Parameters
        ----------
        shape : tuple of int
            Rows and columns of the grid.

        Returns
        -------
        place : tuple of slice
            Where in the grid.
        values : (my, mx) float64
            That part; empty if there is none.
        """
        ny, nx = self.values.shape
        rows = max(0, self.row), min(shape[0], self.row + ny)
        columns = max(0, self.column), min(shape[1], self.column + nx)
        if rows[0] >= rows[1] or columns[0] >= columns[1]:
            return np.s_[0:0, 0:0], self.values[:0, :0]
        part = self.values[
            rows[0] - self.row : rows[1] - self.row,
            columns[0] - self.column : columns[1] - self.column,
        ]
        return np.s_[rows[0] : rows[1], columns[0] : columns[1]], part


def point_source(x: float, y: float, seeing_px2: float) -> Stamp:
    """Return a point source of unit flux on 2" cells.

    Parameters
    ----------
    x, y : float
        Its position in PS1 pixels of the skycell, 0-based; may be outside.
    seeing_px2 : float
        Variance of the seeing along an axis, square PS1 pixels.

    Returns
    -------
    Stamp
        Gaussian seeing through pixel, boxes and quadratic B-spline: exactly the blur that the
        scene's transfer function undoes, but for the seeing and the pixel, which stay.

    Notes
    -----
    The B-spline is a box convolved with itself three times, so its convolution with a Gaussian is
    the third difference of the Gaussian's third integral,
    ``F(t) = ((t^2 + s^2) P(t/s) + t s p(t/s)) / 2``.
    """
    variance = seeing_px2 + PIXEL_PX2 + BOX_PX2
    row, down = _along(y, variance)
    column, right = _along(x, variance)
    return Stamp(row, column, np.outer(down, right))


def _along(place: float, variance: float) -> tuple[int, NDArray[np.float64]]:
    """Return the first cell that a star reaches along an axis, and its light in each."""
    sigma = float(np.sqrt(variance))
    reach = _REACH_SIGMAS * sigma + 1.5 * CELL_PX
    first = int(np.floor((place - reach) / CELL_PX))
    last = int(np.ceil((place + reach) / CELL_PX))
    # A cell's centre is between its fourth and fifth pixel.
    distance = CELL_PX * np.arange(first, last + 1) + (CELL_PX - 1) / 2 - place
    steps = np.array([1.5, 0.5, -0.5, -1.5]) * CELL_PX
    signs = np.array([1.0, -3.0, 3.0, -1.0])
    values = _third_integral(distance[:, None] + steps, sigma) @ signs / CELL_PX**2
    return first, values / values.sum()


def _third_integral(t: NDArray[np.float64], sigma: float) -> NDArray[np.float64]:
    """Return the third integral of a Gaussian of unit area."""
    u = t / sigma
    density = np.exp(-0.5 * u**2) / np.sqrt(2 * np.pi)
    return np.asarray(0.5 * ((t**2 + sigma**2) * ndtr(u) + t * sigma * density), np.float64)
