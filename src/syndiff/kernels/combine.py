"""Passes over all cells of a skycell while its bands are combined."""

import numpy as np
from numpy.typing import NDArray

from syndiff.kernels.compile import njit

__all__ = ["raise_flags", "sum_changes", "weigh_bands"]


@njit(cache=True, nogil=True)
def weigh_bands(
    light: NDArray[np.float32],
    weights: NDArray[np.float32],
    total: NDArray[np.float32],
) -> None:
    """Set `total` to the weighted sum of bands.

    Parameters
    ----------
    light : (bands, ny, nx) float32
        Light of each band.
    weights : (bands,) float32
        Their weights; the sum is taken in the order of the bands, in float32.
    total : (ny, nx) float32
        Set.
    """
    bands, ny, nx = light.shape
    for j in range(ny):
        row = total[j]
        row[:] = 0
        for band in range(bands):
            values, weight = light[band, j], weights[band]
            for i in range(nx):
                row[i] += weight * values[i]


@njit(cache=True, nogil=True)
def raise_flags(
    mask: NDArray[np.uint16],
    left_out: NDArray[np.uint16],
    bits: NDArray[np.uint16],
    flags: NDArray[np.uint8],
    out: NDArray[np.uint8],
) -> None:
    """Set flags where the mask has bits: some anywhere, others beside pixels left out only.

    Parameters
    ----------
    mask : (ny, nx) uint16
        Mask bits of 2" cells.
    left_out : (bands, ceil(ny/4), ceil(nx/4)) uint16
        Pixels left out in 8" cells.
    bits : (2,) uint16
        Mask bits that raise the first flag; those that raise the second one where any band's pixels
        are left out.
    flags : (2,) uint8
        The flags.
    out : (ny, nx) uint8
        Set.
    """
    ny, nx = mask.shape
    for j in range(ny):
        row, target = mask[j], out[j]
        for i in range(nx):
            target[i] = flags[0] if row[i] & bits[0] else np.uint8(0)
        for I in range(left_out.shape[2]):
            count = 0
            for band in range(left_out.shape[0]):
                count += left_out[band, j >> 2, I]
            if count:
                for i in range(4 * I, min(4 * I + 4, nx)):
                    if row[i] & bits[1]:
                        target[i] |= flags[1]


@njit(cache=True, nogil=True)
def sum_changes(
    row: NDArray[np.int64],
    column: NDArray[np.int64],
    changes: NDArray[np.float32],
    out: NDArray[np.float64],
) -> None:
    """Add changes of 2" cells to the 8" cells that hold them.

    Parameters
    ----------
    row, column : (n,) int64
        The 2" cells.
    changes : (planes, n) float32
        Their changes.
    out : (planes, n8y, n8x) float64
        Added to.
    """
    for plane in range(changes.shape[0]):
        for k in range(row.size):
            out[plane, row[k] >> 2, column[k] >> 2] += changes[plane, k]
