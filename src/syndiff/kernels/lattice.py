"""Bilinear interpolation of positions between the nodes of a lattice."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from syndiff.kernels.compile import njit

__all__ = ["CELL_PX", "evaluate_lattice", "index_cells"]

FloatArray = NDArray[np.float64]

CELL_PX = 8
"""PS1 pixels on a side of a 2" cell; the first one's centre is pixel 3.5."""


@njit(cache=True, nogil=True)
def _blend(nodes: FloatArray, i: int, j: int, s: float, t: float) -> Any:
    """Interpolate in the square whose lowest corner is node [j, i], at fractions s, t of it."""
    below = nodes[j, i] * (1.0 - s) + nodes[j, i + 1] * s
    above = nodes[j + 1, i] * (1.0 - s) + nodes[j + 1, i + 1] * s
    return below * (1.0 - t) + above * t


@njit(cache=True, nogil=True)
def evaluate_lattice(
    nodes: FloatArray, step: int, x: FloatArray, y: FloatArray, out: FloatArray
) -> None:
    """Interpolate a value of the nodes at arbitrary places.

    Parameters
    ----------
    nodes : (my, mx) float64
        The value at places ``(step * i, step * j)``; NaN spreads to the squares around it.
    step : int
        Distance of the nodes.
    x, y : (n,) float64
        Finite places; beyond the outermost nodes the outermost square is continued.
    out : (n,) float64
        Written: the value there.
    """
    last_j, last_i = nodes.shape[0] - 2, nodes.shape[1] - 2
    for k in range(x.size):
        i = min(max(int(np.floor(x[k] / step)), 0), last_i)
        j = min(max(int(np.floor(y[k] / step)), 0), last_j)
        out[k] = _blend(nodes, i, j, x[k] / step - i, y[k] / step - j)


@njit(cache=True, nogil=True)
def index_cells(
    node_x: FloatArray,
    node_y: FloatArray,
    cells: int,
    window: NDArray[np.int64],
    out: NDArray[np.int32],
) -> None:
    """Find the target pixel that holds the centre of each 2" cell.

    Parameters
    ----------
    node_x, node_y : (my, mx) float64
        Target pixel, 0-based, at every `cells` cells of `CELL_PX` pixels from pixel 0 on.
    cells : int
        Cells between two nodes.
    window : (5,) int64
        x0, y0, x1, y1 of the target pixels that count; columns of the target array.
    out : (cy, cx) int32
        Written: row * columns + column; -1 outside the window or where a node is NaN.
    """
    x0, y0, x1, y1, columns = window
    for J in range(out.shape[0]):
        j = J // cells
        # A node lies at the centre of a cell's first pixel, the cell's own centre half a cell less
        # half a pixel on from there.
        t = (J - j * cells + 0.5 - 0.5 / CELL_PX) / cells
        for I in range(out.shape[1]):
            i = I // cells
            s = (I - i * cells + 0.5 - 0.5 / CELL_PX) / cells
            # Half a pixel on, so that pixel k is what lies from k to k + 1.
            x = _blend(node_x, i, j, s, t) + 0.5
            y = _blend(node_y, i, j, s, t) + 0.5
            out[J, I] = -1
            # False for NaN too, ahead of a cast that would make some number of it.
            if x >= x0 and x < x1 and y >= y0 and y < y1:
                out[J, I] = int(np.floor(y)) * columns + int(np.floor(x))
