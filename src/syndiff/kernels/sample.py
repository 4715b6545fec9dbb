"""Interpolate a scene at a constant offset."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["sample_boxes", "sample_constant"]


@njit(cache=True, nogil=True, fastmath=True)
def sample_constant(
    scene: NDArray[np.float32],
    row: int,
    column: int,
    step: int,
    taps_y: NDArray[np.float32],
    taps_x: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    """Sample a scene at regular steps with a separable kernel.

    Parameters
    ----------
    scene : (rows, columns) float32
        Samples; finite (fastmath).
    row, column : int
        Sample under the first tap for out[0, 0].
    step : int
        Samples from one output pixel to the next.
    taps_y, taps_x : (n,) float32
        Kernel weights.
    out : (ny, nx) float32
        Written.
    """
    ny, nx = out.shape
    n = taps_x.size
    width = step * (nx - 1) + n
    line = np.empty(width, np.float32)
    for y in range(ny):
        line[:] = 0
        for t in range(taps_y.size):
            w = taps_y[t]
            source = scene[row + step * y + t]
            for i in range(width):
                line[i] += w * source[column + i]
        for x in range(nx):
            total = np.float32(0)
            for t in range(n):
                total += taps_x[t] * line[step * x + t]
            out[y, x] = total


@njit(cache=True, nogil=True)
def sample_boxes(
    flags: NDArray[np.uint8], row: int, column: int, step: int, size: int, out: NDArray[np.uint8]
) -> None:
    """Combine by "or" the size x size flags that start at (row + step*y, column + step*x).

    Parameters
    ----------
    flags : (rows, columns) uint8
        Bits.
    row, column : int
        First flag for out[0, 0].
    step : int
        Flags from one output pixel to the next.
    size : int
        Flags along a side of the box.
    out : (ny, nx) uint8
        Written.
    """
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            bits = np.uint8(0)
            for j in range(row + step * y, row + step * y + size):
                for i in range(column + step * x, column + step * x + size):
                    bits |= flags[j, i]
            out[y, x] = bits
