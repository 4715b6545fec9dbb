"""Pixels as weighted sums over a grid finer than they are, for the simulator's series of frames."""

import numpy as np
from numpy.typing import NDArray

from syndiff.kernels.compile import njit

__all__ = ["sum_block"]

F32 = NDArray[np.float32]


@njit(cache=True, nogil=True)
def sum_block(
    fine: F32,
    corner: NDArray[np.int64],
    across: F32,
    up: F32,
    work: F32,
    out: F32,
) -> None:
    """Sum a fine grid's values over the pixels of a block, with weights and with their slopes.

    Parameters
    ----------
    fine : (rows, n, columns) float32
        The grid, n cells a pixel and axis: ``fine[k, p, i]`` is cell ``n i + p`` of fine row k.
        Cells of one phase lie together, so that a loop over pixels reads memory in order.
    corner : (2,) int64
        Fine row and fine column of the first weight of the block's first pixel.
    across, up : (2, m) float32
        Weights of m cells along a row and along a column, then the weights' slopes.
    work : (2, n ny + m, nx) float32
        Scratch: sums along rows.
    out : (3, ny, nx) float32
        The sums, those with slopes along rows, and those with slopes along columns; replaced.
    """
    n = fine.shape[1]
    ny, nx = out.shape[1], out.shape[2]
    taps, rows = across.shape[1], n * ny + up.shape[1]
    for k in range(rows):
        light, slopes = work[0, k], work[1, k]
        light[:] = 0.0
        slopes[:] = 0.0
        for t in range(taps):
            column, phase = divmod(corner[1] + t, n)
            cells = fine[corner[0] + k, phase, column : column + nx]
            weight, slope = across[0, t], across[1, t]
            for i in range(nx):
                light[i] += weight * cells[i]
                slopes[i] += slope * cells[i]
    for j in range(ny):
        light, along, upward = out[0, j], out[1, j], out[2, j]
        light[:] = 0.0
        along[:] = 0.0
        upward[:] = 0.0
        for t in range(up.shape[1]):
            row, slopes = work[0, n * j + t], work[1, n * j + t]
            weight, slope = up[0, t], up[1, t]
            for i in range(nx):
                light[i] += weight * row[i]
                along[i] += weight * slopes[i]
                upward[i] += slope * row[i]
