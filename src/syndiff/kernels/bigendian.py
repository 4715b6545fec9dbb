"""Rows of 16-bit words as FITS has them."""

import numpy as np
from numpy.typing import NDArray

from syndiff.kernels.compile import njit

__all__ = ["unpack_rows"]


@njit(cache=True, nogil=True)
def unpack_rows(
    packed: NDArray[np.uint16], index: NDArray[np.int64], sign: np.uint16, out: NDArray[np.uint16]
) -> None:
    """Fill `out` with rows, the bytes of every word swapped.

    Parameters
    ----------
    packed : (k, nx) uint16
        Rows that differ, most significant byte first, read as if it were last.
    index : (ny,) int64
        Which of them is each row of `out`.
    sign : uint16
        Bits to invert in every word after the swap.
    out : (ny, nx) uint16
        Set.
    """
    for j in range(index.size):
        row, target = packed[index[j]], out[j]
        for i in range(target.size):
            target[i] = ((row[i] << 8) | (row[i] >> 8)) ^ sign
