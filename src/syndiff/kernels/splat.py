"""Scatter the cells of a skycell onto the nodes of a grid fixed to the CCD.

A cell's place is bilinear on the skycell's lattice of TESS pixels. Node numbers count from an
origin that belongs to the CCD; the part of the grid at hand is cut out by whole numbers, so that
every sum is bitwise the same whichever part is made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from syndiff.kernels.compile import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["splat_cells", "splat_flags"]


@njit(cache=True, nogil=True)
def _misses(
    lattice_x: NDArray[np.float64],
    lattice_y: NDArray[np.float64],
    row: int,
    column: int,
    bounds: NDArray[np.float64],
) -> bool:
    """Tell whether a lattice square lies outside (x0, y0, x1, y1); NaN corners do."""
    x_low, x_high = np.inf, -np.inf
    y_low, y_high = np.inf, -np.inf
    for j in range(row, row + 2):
        for i in range(column, column + 2):
            x, y = lattice_x[j, i], lattice_y[j, i]
            if not (np.isfinite(x) and np.isfinite(y)):
                return True
            x_low, x_high = min(x_low, x), max(x_high, x)
            y_low, y_high = min(y_low, y), max(y_high, y)
    return bool(x_high < bounds[0] or y_high < bounds[1] or x_low > bounds[2] or y_low > bounds[3])


@njit(cache=True, nogil=True)
def _add_part(
    values: NDArray[np.float32],
    wx: tuple[float, float, float],
    wy: tuple[float, float, float],
    column: int,
    row: int,
    top: int,
    out: NDArray[np.float64],
) -> None:
    """Add a cell to those of the nine nodes from (row, column) on that `out` has from `top` on."""
    for plane in range(values.size):
        value = np.float64(values[plane])
        # The same products in the same order as `_add_all`'s: a node holds the same bits in any
        # part of the grid.
        for j in range(max(0, top - row), min(3, out.shape[1] - row)):
            for i in range(max(0, -column), min(3, out.shape[2] - column)):
                out[plane, row + j, column + i] += value * wx[i] * wy[j]


@njit(cache=True, nogil=True)
def _add_all(
    value: np.float64,
    wx: tuple[float, float, float],
    wy: tuple[float, float, float],
    column: np.uint64,
    row: np.uint64,
    out: NDArray[np.float64],
) -> None:
    """Add a cell to the nine nodes from (row, column) on; all of them lie in `out`.

    Unsigned numbers, so that the compiler need not ask whether they count from the end.
    """
    one, two = np.uint64(1), np.uint64(2)
    w0, w1, w2 = value * wx[0], value * wx[1], value * wx[2]
    out[row, column] += w0 * wy[0]
    out[row, column + one] += w1 * wy[0]
    out[row, column + two] += w2 * wy[0]
    out[row + one, column] += w0 * wy[1]
    out[row + one, column + one] += w1 * wy[1]
    out[row + one, column + two] += w2 * wy[1]
    out[row + two, column] += w0 * wy[2]
    out[row + two, column + one] += w1 * wy[2]
    out[row + two, column + two] += w2 * wy[2]


@njit(cache=True, nogil=True)
def splat_cells(
    values: NDArray[np.float32],
    per_square: int,
    lattice_x: NDArray[np.float64],
    lattice_y: NDArray[np.float64],
    origin: NDArray[np.float64],
    nodes_per_px: int,
    first: NDArray[np.int64],
    top: int,
    out: NDArray[np.float64],
) -> None:
    """Add cells to grids with quadratic B-spline weights on 3 x 3 nodes.

    Parameters
    ----------
    values : (planes, ny, nx) float32
        Cells; a cell that is zero in every plane costs nothing.
    per_square : int
        Cells along the side of a lattice square, a power of two.
    lattice_x, lattice_y : (my, mx) float64
        TESS pixels of the lattice nodes.
    origin : (2,) float64
        TESS pixel (x, y) of node (0, 0).
    nodes_per_px : int
        Nodes along a TESS pixel.
    first : (2,) int64
        Row and column of the node that is out[:, 0, 0].
    top : int
        First row of `out` that is added to; those before have their sums.
    out : (planes, rows, columns) float64
        Added to.

    Notes
    -----
    Of a cell at the border the nodes in `out` get their part, so that they hold what they would
    hold in any larger grid. A cell's three weights along an axis, its place ``d`` from the nearest
    node (-1/2 to 1/2)::

        node        nearest - 1       nearest       nearest + 1
        weight     (1/2 - d)^2 / 2   3/4 - d^2     (1/2 + d)^2 / 2      their sum is 1
    """
    _, ny, nx = values.shape
    bounds = _reached(origin, nodes_per_px, first, top, out.shape[1:])
    # Not the arrays: references to them would be counted at each square.
    grid = origin[0], origin[1], nodes_per_px, first[1] + 1, first[0] + 1, top
    squares = (nx + per_square - 1) // per_square
    lit = np.empty((per_square, squares * per_square), np.uint8)
    for row in range((ny + per_square - 1) // per_square):
        is_marked = False
        for column in range(squares):
            if _misses(lattice_x, lattice_y, row, column, bounds):
                continue
            # Most rows of squares miss a row of tiles: only what is looked at is marked.
            if not is_marked:
                _mark_lit(values, row * per_square, lit)
                is_marked = True
            corners = (
                *(lattice_x[row, column], lattice_x[row, column + 1]),
                *(lattice_x[row + 1, column], lattice_x[row + 1, column + 1]),
                *(lattice_y[row, column], lattice_y[row, column + 1]),
                *(lattice_y[row + 1, column], lattice_y[row + 1, column + 1]),
            )
            place = row * per_square, column * per_square, per_square
            _splat_square(values, lit, place, corners, grid, out)


@njit(cache=True, nogil=True)
def _reached(
    origin: NDArray[np.float64],
    nodes_per_px: int,
    first: NDArray[np.int64],
    top: int,
    shape: tuple[int, int],
) -> NDArray[np.float64]:
    """Return x0, y0, x1, y1 of the places, in TESS pixels, whose cells reach the nodes of `out`."""
    # A B-spline reaches a node and a half.
    low_x = origin[0] + (first[1] - 1.5) / nodes_per_px
    low_y = origin[1] + (first[0] + top - 1.5) / nodes_per_px
    high_x = low_x + (shape[1] + 2) / nodes_per_px
    high_y = low_y + (shape[0] - top + 2) / nodes_per_px
    return np.array([low_x, low_y, high_x, high_y])


@njit(cache=True, nogil=True)
def _splat_square(
    values: NDArray[np.float32],
    lit: NDArray[np.uint8],
    place: tuple[int, int, int],
    corners: tuple[float, float, float, float, float, float, float, float],
    grid: tuple[float, float, int, int, int, int],
    out: NDArray[np.float64],
) -> None:
    """Add the cells of one lattice square.

    `place` is its first row and column of cells, and how many they are; `corners` are x, then y, at
    the lattice nodes a b below c d; `grid` is the origin's x and y, nodes along a pixel, column
    and row of the node right and above of out[:, 0, 0], and the first row to add to.
    """
    xa, xb, xc, xd, ya, yb, yc, yd = corners
    first_j, start, per_square = place
    planes, rows, columns = out.shape
    # A lattice node is the centre of a PS1 pixel, a cell's centre lies between pixels.
    shift = 0.5 - 0.5 / (64 // per_square)
    part = 1.0 / per_square  # a power of two, so that nothing is rounded
    x0, y0, nodes_per_px, x_first, y_first, top = grid
    for m in range(per_square):
        if _is_dark(lit[m], start, start + per_square):
            continue
        j = np.uint64(first_j + m)
        # Along y once a row, along x for each cell: the same place from either neighbour square.
        t = (m + shift) * part
        x_left, x_right = xa + (xc - xa) * t, xb + (xd - xb) * t
        y_left, y_right = ya + (yc - ya) * t, yb + (yd - yb) * t
        for k in range(per_square):
            i = np.uint64(start + k)
            if not lit[m, i]:
                continue
            s = (k + shift) * part
            u = (x_left + (x_right - x_left) * s - x0) * nodes_per_px
            v = (y_left + (y_right - y_left) * s - y0) * nodes_per_px
            nearest_u, nearest_v = np.floor(u + 0.5), np.floor(v + 0.5)
            a, b = int(nearest_u) - x_first, int(nearest_v) - y_first
            wx, wy = _spline(u - nearest_u), _spline(v - nearest_v)
            if a < 0 or b < top or a + 3 > columns or b + 3 > rows:
                _add_part(values[:, j, i], wx, wy, a, b, top, out)
                continue
            for plane in range(planes):
                value = np.float64(values[plane, j, i])
                if value != 0:
                    _add_all(value, wx, wy, np.uint64(a), np.uint64(b), out[plane])


@njit(cache=True, nogil=True)
def _spline(d: float) -> tuple[float, float, float]:
    """Return the weights of the three nodes around a place, `d` from the middle one."""
    before, after = 0.5 * (0.5 - d) ** 2, 0.5 * (0.5 + d) ** 2
    # The middle one from the others, not from 3/4 - d^2: they sum to 1 to the last bit.
    return before, 1.0 - before - after, after


@njit(cache=True, nogil=True)
def _mark_lit(values: NDArray[np.float32], top: int, lit: NDArray[np.uint8]) -> None:
    """Tell which cells of the rows from `top` on are not zero in some plane; none beyond the last.

    Apart from the sums, so that the compiler makes vectors of it: most cells are dark.
    """
    for j in range(lit.shape[0]):
        target = lit[j]
        target[:] = 0
        if top + j < values.shape[1]:
            for plane in range(values.shape[0]):
                source = values[plane, top + j]
                for i in range(source.size):
                    target[i] |= source[i] != 0


@njit(cache=True, nogil=True)
def _is_dark(lit: NDArray[np.uint8], start: int, stop: int) -> bool:
    """Tell whether no cell of a stretch is lit."""
    for i in range(start, stop):
        if lit[i]:
            return False
    return True


@njit(cache=True, nogil=True)
def splat_flags(
    flags: NDArray[np.uint8],
    per_square: int,
    lattice_x: NDArray[np.float64],
    lattice_y: NDArray[np.float64],
    origin: NDArray[np.float64],
    nodes_per_px: int,
    first: NDArray[np.int64],
    top: int,
    out: NDArray[np.uint8],
) -> None:
    """Set the bits of every cell at its nearest node.

    Parameters
    ----------
    flags : (ny, nx) uint8
        Bits of the cells.
    per_square, lattice_x, lattice_y, origin, nodes_per_px, first, top
        As in `splat_cells`.
    out : (rows, columns) uint8
        Or-ed into.
    """
    ny, nx = flags.shape
    rows, columns = out.shape
    shift = 0.5 - 0.5 / (64 // per_square)
    for j in range(ny):
        row = j // per_square
        t = (j - row * per_square + shift) / per_square
        for i in range(nx):
            if flags[j, i] == 0:
                continue
            column = i // per_square
            s = (i - column * per_square + shift) / per_square
            x = (lattice_x[row, column] * (1 - s) + lattice_x[row, column + 1] * s) * (1 - t) + (
                lattice_x[row + 1, column] * (1 - s) + lattice_x[row + 1, column + 1] * s
            ) * t
            y = (lattice_y[row, column] * (1 - s) + lattice_y[row, column + 1] * s) * (1 - t) + (
                lattice_y[row + 1, column] * (1 - s) + lattice_y[row + 1, column + 1] * s
            ) * t
            if not (np.isfinite(x) and np.isfinite(y)):
                continue
            a = int(np.floor((x - origin[0]) * nodes_per_px + 0.5)) - first[1]
            b = int(np.floor((y - origin[1]) * nodes_per_px + 0.5)) - first[0]
            if 0 <= a < columns and top <= b < rows:
                out[b, a] |= flags[j, i]
