"""Widen marked pixels to all within a box."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from syndiff.kernels.compile import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["widen"]


@njit(cache=True, nogil=True)
def widen(marked: NDArray[np.bool_], rows: int, columns: int) -> NDArray[np.bool_]:
    """Return which pixels have a marked one within some rows and columns.

    Parameters
    ----------
    marked : (ny, nx) bool
        Pixels.
    rows, columns : int
        How far, both ways.

    Returns
    -------
    (ny, nx) bool
        A new array.
    """
    ny, nx = marked.shape
    across = np.zeros((ny, nx), np.bool_)
    out = np.zeros((ny, nx), np.bool_)
    for y in range(ny):
        for x in range(nx):
            if marked[y, x]:
                for i in range(max(0, x - columns), min(nx, x + columns + 1)):
                    across[y, i] = True
    for y in range(ny):
        for j in range(max(0, y - rows), min(ny, y + rows + 1)):
            source, target = across[j], out[y]
            for x in range(nx):
                target[x] |= source[x]
    return out
