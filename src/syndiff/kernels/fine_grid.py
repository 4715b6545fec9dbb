"""Pixels as weighted sums over a grid finer than they are, for the simulator's series of frames."""

import numpy as np
from numpy.typing import NDArray

from syndiff.kernels.compile import njit

__all__ = ["sum_block"]

F64 = NDArray[np.float64]


@njit(cache=True, nogil=True)
def sum_block(
    fine: NDArray[np.float32],
    corner: NDArray[np.int64],
    across: F64,
    up: F64,
    work: F64,
    out: F64,
) -> None:
    """Sum a fine grid's values over the pixels of a block, with weights and with their slopes.

    Parameters
    ----------
    fine : (rows, n, columns) float32
        The grid, n cells a pixel and axis: ``fine[k, p, i]`` is cell ``n i + p`` of fine row k.
        Cells of one phase lie together, so that a loop over pixels reads memory in order.
    corner : (2,) int64
        Fine row and fine column of the first weight of the block's first pixel.
    across, up : (2, m) float64
        Weights of m cells along a row and along a column, then the weights' slopes.
    work : (2, n ny + m, nx) float64
        Scratch: sums along rows.
    out : (3, ny, nx) float64
        The sums, those with slopes along rows, and those with slopes along columns; replaced.
    """
    n = fine.shape[1]
    ny, nx = out.shape[1], out.shape[2]
    taps, rows = across.shape[1], n * ny + up.shape[1]
    for k in range(rows):
        for i in range(nx):
            work[0, k, i] = 0.0
            work[1, k, i] = 0.0
        for t in range(taps):
            column, phase = divmod(corner[1] + t, n)
            weight, slope = across[0, t], across[1, t]
            for i in range(nx):
                value = fine[corner[0] + k, phase, column + i]
                work[0, k, i] += weight * value
                work[1, k, i] += slope * value
    for j in range(ny):
        for i in range(nx):
            out[0, j, i] = 0.0
            out[1, j, i] = 0.0
            out[2, j, i] = 0.0
        for t in range(up.shape[1]):
            weight, slope = up[0, t], up[1, t]
            for i in range(nx):
                value = work[0, n * j + t, i]
                out[0, j, i] += weight * value
                out[1, j, i] += weight * work[1, n * j + t, i]
                out[2, j, i] += slope * value
