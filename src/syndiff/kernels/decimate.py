"""Boxes of 0.5" brought to the grids that are kept: light to 2", the rest to 8"."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from syndiff.kernels.compile import njit

__all__ = ["SPLINE", "Boxes", "CoarseSums", "scatter_light", "split_light", "split_variance"]

_DISTANCE = np.abs(np.arange(12) - 5.5) / 4
SPLINE = np.where(_DISTANCE < 0.5, 0.75 - _DISTANCE**2, 0.5 * (1.5 - _DISTANCE) ** 2).astype(
    np.float32
)
"""Weights of boxes ``4 I - 4`` to ``4 I + 7`` in 2" cell ``I``: the quadratic B-spline.

``b(t) = 3/4 - t^2`` for ``|t| < 1/2``, ``(3/2 - |t|)^2 / 2`` for ``|t| < 3/2``, at
``t = ((2 k + 0.5) - (8 I + 3.5)) / 8``: centres of box k and cell I in PS1 pixels. The three cells
that a box falls into get 1 together. Its second moment (1/4 of a cell squared) does not depend on
where in a cell a star sits.
"""


class Boxes(NamedTuple):
    """One band's boxes, and what separates light from level in them."""

    flux: NDArray[np.float32]
    """(nby, nbx) flux of contributing pixels."""
    counts: NDArray[np.uint8]
    """(nby, nbx) contributing pixels."""
    detected: NDArray[np.uint8]
    """(ceil(nby/2), ceil(nbx/2)) 1 where the 1" cell holds light, 2 where that is extended."""
    level: NDArray[np.float32]
    """(ceil(nby/128), ceil(nbx/128)) level per PS1 pixel."""
    pedestal: NDArray[np.float32]
    """(ceil(nby/128), ceil(nbx/128)) undetected light per PS1 pixel around extended light."""


class CoarseSums(NamedTuple):
    """What is kept of one band's boxes; zero before the call."""

    light: NDArray[np.float32]
    """(ceil(nby/4), ceil(nbx/4)) detected light, level taken out, under the spline."""
    faint: NDArray[np.float64]
    """(ceil(nby/16), ceil(nbx/16)) undetected light, level taken out, summed."""
    counts: NDArray[np.uint16]
    """(ceil(nby/16), ceil(nbx/16)) contributing pixels."""


@njit(cache=True, nogil=True)
def split_light(boxes: Boxes, weights: NDArray[np.float32], out: CoarseSums) -> None:
    """Take the level out, then bring detected light to 2" cells and the rest to 8" cells.

    Parameters
    ----------
    boxes : Boxes
        One band; not modified.
    weights : (12,) float32
        `SPLINE`.
    out : CoarseSums
        Set; added to zero.

    Notes
    -----
    Light under the spline that falls on cells outside the skycell is lost: part of what the
    outermost two boxes hold. In extended light, all that stands above level and pedestal is light,
    and the pedestal is undetected light there as elsewhere.
    """
    rows, columns = boxes.flux.shape
    height, width = out.light.shape
    # A 2" cell takes twelve box rows, four of its own and four on either side, so that each row
    # of boxes goes into three rows of cells. A ring holds the last twelve; a step brings four:
    #
    #     box row   4J-4 ... 4J-1 | 4J ... 4J+3 | 4J+4 ... 4J+7 | 4J+8 ... 4J+11
    #     cell J    [---------------  12 rows  ----------------]
    #     cell J+1                [----------------  12 rows  -----------------]
    #
    # Rows are summed first, column by column, then columns: 60 products a cell, not 144.
    # Four columns of padding on either side are the spline's reach.
    ring = np.zeros((12, 4 * width + 8), np.float32)
    column_sums = np.empty(4 * width + 8, np.float32)
    # of the rows of an 8" cell so far, column by column
    faint = np.zeros(columns, np.float32)
    counts = np.zeros(columns, np.uint16)
    is_light = np.empty(columns + 1, np.uint8)
    for J in range(height):
        lit = False
        for j in range(4 * J + 4 if J else 0, 4 * J + 8):
            if j >= rows:
                ring[j % 12] = 0
                continue
            _repeat_cells(boxes.detected[j >> 1], is_light)
            _split_row(boxes, j, is_light, ring[j % 12], faint, counts)
            if j % 16 == 15 or j == rows - 1:
                _gather(faint, counts, out.faint[j >> 4], out.counts[j >> 4])
                faint[:] = 0
                counts[:] = 0
        column_sums[:] = 0
        for r in range(12):
            j = 4 * J - 4 + r
            if j >= 0:
                lit |= _add_scaled(ring[j % 12], weights[r], column_sums)
        if lit:
            _weigh_columns(column_sums, weights, out.light[J])


@njit(cache=True, nogil=True)
def _repeat_cells(cells: NDArray[np.uint8], out: NDArray[np.uint8]) -> None:
    """Set both boxes of every 1" cell of a row to what the cell is."""
    for I in range(cells.size):
        out[2 * I] = cells[I]
        out[2 * I + 1] = cells[I]


@njit(cache=True, nogil=True)
def _split_row(
    boxes: Boxes,
    row: int,
    is_light: NDArray[np.uint8],
    light: NDArray[np.float32],
    faint: NDArray[np.float32],
    counts: NDArray[np.uint16],
) -> None:
    """Set `light` (four columns of padding first) to a row's detected light; sum the rest."""
    level, pedestal = boxes.level[row >> 7], boxes.pedestal[row >> 7]
    for I in range(level.size):
        height, foot = level[I], pedestal[I]
        # Slices that begin at 0 let the compiler use vectors.
        part = slice(128 * I, min(128 * I + 128, faint.size))
        flux, count, lit = boxes.flux[row, part], boxes.counts[row, part], is_light[part]
        target, rest, total = light[4:][part], faint[part], counts[part]
        for i in range(rest.size):
            # Dark: all of x is undetected. Lit: all is light. In extended light (2) its pedestal,
            # undetected light as around it, stays below.
            x = flux[i] - height * np.float32(count[i])
            below = foot * np.float32(count[i]) if lit[i] == 2 else np.float32(0)
            target[i] = x - below if lit[i] != 0 else np.float32(0)
            rest[i] += below if lit[i] != 0 else x
            total[i] += np.uint16(count[i])


@njit(cache=True, nogil=True)
def _gather(
    faint: NDArray[np.float32],
    counts: NDArray[np.uint16],
    cell_faint: NDArray[np.float64],
    cell_counts: NDArray[np.uint16],
) -> None:
    """Set a row of 8" cells to the sums of their sixteen columns."""
    for I in range(cell_faint.size):
        total = 0.0
        n = 0
        for i in range(16 * I, min(16 * I + 16, faint.size)):
            total += faint[i]
            n += counts[i]
        cell_faint[I] = total
        cell_counts[I] = n


@njit(cache=True, nogil=True)
def _add_scaled(row: NDArray[np.float32], weight: np.float32, out: NDArray[np.float32]) -> bool:
    """Add ``weight * row`` to `out`; say whether there was anything to add."""
    lit = False
    for i in range(row.size):
        lit |= row[i] != 0
    if lit:
        for i in range(row.size):
            out[i] += weight * row[i]
    return lit


@njit(cache=True, nogil=True)
def _weigh_columns(
    columns: NDArray[np.float32], weights: NDArray[np.float32], out: NDArray[np.float32]
) -> None:
    """Set each cell of a row to the weighted sum of its twelve columns."""
    for I in range(out.size):
        total = np.float32(0)
        for q in range(12):
            total += weights[q] * columns[4 * I + q]
        out[I] = total


@njit(cache=True, nogil=True)
def split_variance(
    variance: NDArray[np.float32], detected: NDArray[np.uint8], out: NDArray[np.float64]
) -> None:
    """Sum the variance of 1" cells in 8" cells, detected ones and the rest apart.

    Parameters
    ----------
    variance, detected : (ncy, ncx) float32, uint8
        Variance of contributing pixels, and not 0 where a cell holds light.
    out : (2, ceil(ncy/8), ceil(ncx/8)) float64
        Detected, undetected; added to.
    """
    rows, columns = variance.shape
    # of the rows of an 8" cell so far, column by column
    lit = np.zeros(columns, np.float32)
    rest = np.zeros(columns, np.float32)
    for j in range(rows):
        row, is_light = variance[j], detected[j]
        for i in range(row.size):
            lit[i] += row[i] if is_light[i] != 0 else np.float32(0)
            rest[i] += np.float32(0) if is_light[i] != 0 else row[i]
        if j % 8 == 7 or j == rows - 1:
            for I in range(out.shape[2]):
                for i in range(8 * I, min(8 * I + 8, columns)):
                    out[0, j >> 3, I] += lit[i]
                    out[1, j >> 3, I] += rest[i]
            lit[:] = 0
            rest[:] = 0


@njit(cache=True, nogil=True)
def scatter_light(
    box_row: NDArray[np.int32],
    box_column: NDArray[np.int32],
    light: NDArray[np.float32],
    weights: NDArray[np.float32],
    out: NDArray[np.float64],
) -> None:
    """Add a list of boxes to 2" cells under the spline.

    Parameters
    ----------
    box_row, box_column : (n,) int32
        Where the boxes are.
    light : (n,) float32
        What they hold.
    weights : (12,) float32
        `SPLINE`.
    out : (n2y, n2x) float64
        Added to.
    """
    rows, columns = out.shape
    for k in range(light.size):
        # A box reaches its own 2" cell and those beside it; weights count from box 4 I - 4 on.
        J = box_row[k] >> 2
        I = box_column[k] >> 2
        for a in range(max(J - 1, 0), min(J + 2, rows)):
            row_weight = weights[box_row[k] - 4 * a + 4]
            for b in range(max(I - 1, 0), min(I + 2, columns)):
                out[a, b] += light[k] * row_weight * weights[box_column[k] - 4 * b + 4]
