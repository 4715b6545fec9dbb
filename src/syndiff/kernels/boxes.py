"""Sums of stack pixels in boxes of 2x2 (0.5"), straight from their disk values."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from syndiff.kernels.coding import look_up
from syndiff.kernels.compile import njit

__all__ = ["BoxSums", "LeftOutBoxes", "StripRows", "add_pairs", "sum_boxes"]


class StripRows(NamedTuple):
    """Rows of one band as they stand on disk, and what their values mean."""

    image: NDArray[np.uint16]
    """(k, nx) bit patterns of the image's DN."""
    variance: NDArray[np.uint16]
    """(k, nx) bit patterns of the variance's DN."""
    mask: NDArray[np.uint16]
    """(k, nx) mask bits."""
    image_values: NDArray[np.float32]
    """(65536,) flux of each bit pattern, NaN where it means no data."""
    variance_values: NDArray[np.float32]
    """(65536,) variance of each bit pattern, NaN where it means no data."""


class BoxSums(NamedTuple):
    """One band's sums over a whole skycell of ny x nx pixels; ``ceil`` in every size."""

    flux: NDArray[np.float32]
    """(ny/2, nx/2) flux of contributing pixels."""
    counts: NDArray[np.uint8]
    """(ny/2, nx/2) contributing pixels, 0 to 4."""
    variance: NDArray[np.float32]
    """(ny/4, nx/4) variance of contributing pixels."""
    usable: NDArray[np.uint8]
    """(ny/8, nx/8) pixels that contribute or are left out, 0 to 64."""
    flagged: NDArray[np.uint16]
    """(ny/32, nx/32) pixels with any mask bit, 0 to 1024."""
    mask: NDArray[np.uint16]
    """(ny/8, nx/8) mask bits of any pixel; shared by the bands."""


class LeftOutBoxes(NamedTuple):
    """The boxes that hold a strip's left-out pixels; room for all of its boxes."""

    row: NDArray[np.int32]
    """Row of boxes."""
    column: NDArray[np.int32]
    """Column of boxes."""
    flux: NDArray[np.float32]
    """Flux of left-out pixels."""
    counts: NDArray[np.uint8]
    """Left-out pixels, 1 to 4."""


@njit(cache=True, nogil=True)
def sum_boxes(
    strip: StripRows,
    first_row: int,
    blank: np.uint16,
    left_out: np.uint16,
    sums: BoxSums,
    aside: LeftOutBoxes,
) -> int:
    """Add one strip to `sums`; return how many boxes hold left-out pixels.

    Parameters
    ----------
    strip : StripRows
        The rows; not modified.
    first_row : int
        Row of the skycell that the strip begins with; even.
    blank, left_out : uint16
        Mask bits of pixels that hold no data, and of those to leave out.
    sums : BoxSums
        Added to, except flux and counts, which are set.
    aside : LeftOutBoxes
        Set from the beginning, row by row.

    Returns
    -------
    int
        Boxes that were written to `aside`.

    Notes
    -----
    Every sum is taken in an order that depends on the pixels' places only: column by column in a
    box, box row by box row in a cell. So strips of any even length give the same bits.
    """
    # Boxes of 2 x 2 pixels, and what is summed on from them; so many rows of each a row of boxes:
    #
    #     pixels   row 2 b, 2 b + 1     0.25"    read
    #     boxes    row b                0.5"     flux, counts
    #              row b >> 1           1"       variance
    #              row b >> 2           2"       usable pixels, mask bits
    #              row b >> 4           8"       flagged pixels
    rows, nx = strip.image.shape
    flux = np.empty(nx, np.float32)
    variance = np.empty(nx, np.float32)
    box_variance = np.empty((nx + 1) >> 1, np.float32)
    counts = np.empty(nx, np.uint8)
    # two rows' own values: look-ups apart from arithmetic take less than half the time
    values = np.empty((2, 2, nx), np.float32)
    # few pixels are left out: cells of 8 tell where to look
    spotted = np.zeros((nx + 7) >> 3, np.uint8)
    half = (nx + 1) >> 1
    scratch = spotted, np.zeros(half, np.float32), np.zeros(half, np.uint8)
    n_aside = 0
    for j in range(0, rows, 2):
        box = (first_row + j) >> 1
        bits = np.uint16(0)
        for q in range(min(2, rows - j)):
            mask = strip.mask[j + q]
            bits |= _collect_bits(
                mask, left_out, sums.mask[box >> 2], sums.flagged[box >> 4], spotted
            )
            look_up(strip.image_values, strip.image[j + q], values[0, q])
            look_up(strip.variance_values, strip.variance[j + q], values[1, q])
        # The last row of an odd number: the one below it is none, and counts as without data.
        if j + 1 == rows:
            values[:, 1] = np.nan
        below = strip.mask[min(j + 1, rows - 1)]
        _add_rows(values, strip.mask[j], below, blank | left_out, flux, variance, counts)
        _pair_columns(flux, sums.flux[box])
        _pair_columns(counts, sums.counts[box])
        _pair_columns(variance, box_variance)
        add_pairs(box_variance, sums.variance[box >> 1])
        _count_usable(sums.counts[box], sums.usable[box >> 2])
        if bits & left_out:
            pair, cells = strip.mask[j : j + 2], sums.usable[box >> 2]
            n_aside = _lay_aside(
                values, pair, (blank, left_out), scratch, box, cells, aside, n_aside
            )
    return n_aside


@njit(cache=True, nogil=True)
def _collect_bits(
    mask: NDArray[np.uint16],
    left_out: np.uint16,
    cells: NDArray[np.uint16],
    flagged: NDArray[np.uint16],
    spotted: NDArray[np.uint8],
) -> np.uint16:
    """Gather a row's mask bits; return their OR.

    They are ORed into 2" cells, flagged pixels counted in 8" cells, and 2" cells with bits of
    `left_out` set in `spotted`.
    """
    # A row without flags, as most are, ends here: a loop of vectors.
    bits = np.uint16(0)
    for i in range(mask.size):
        bits |= mask[i]
    if bits == 0:
        return bits
    whole = mask.size >> 3
    for k in range(whole):
        union = np.uint16(0)
        for i in range(8 * k, 8 * k + 8):
            union |= mask[i]
        if union != 0:
            _note_bits(mask[8 * k : 8 * k + 8], k, left_out, cells, flagged, spotted)
    if mask.size & 7:
        _note_bits(mask[8 * whole :], whole, left_out, cells, flagged, spotted)
    return bits


@njit(cache=True, nogil=True)
def _note_bits(
    mask: NDArray[np.uint16],
    k: int,
    left_out: np.uint16,
    cells: NDArray[np.uint16],
    flagged: NDArray[np.uint16],
    spotted: NDArray[np.uint8],
) -> None:
    """Take note of the mask bits of one row of 2" cell `k`."""
    union = np.uint16(0)
    for i in range(mask.size):
        union |= mask[i]
        flagged[k >> 2] += np.uint16(mask[i] != 0)
    cells[k] |= union
    spotted[k] |= np.uint8((union & left_out) != 0)


@njit(cache=True, nogil=True)
def _add_rows(
    values: NDArray[np.float32],
    above: NDArray[np.uint16],
    below: NDArray[np.uint16],
    reject: np.uint16,
    flux: NDArray[np.float32],
    variance: NDArray[np.float32],
    counts: NDArray[np.uint8],
) -> None:
    """Set sums of the contributing pixels of two rows, one per column."""
    x0, x1, v0, v1 = values[0, 0], values[0, 1], values[1, 0], values[1, 1]
    zero = np.float32(0)
    for i in range(flux.size):
        # x == x is false for NaN only
        a = (x0[i] == x0[i]) & (v0[i] == v0[i]) & ((above[i] & reject) == 0)
        b = (x1[i] == x1[i]) & (v1[i] == v1[i]) & ((below[i] & reject) == 0)
        flux[i] = (x0[i] if a else zero) + (x1[i] if b else zero)
        variance[i] = (v0[i] if a else zero) + (v1[i] if b else zero)
        counts[i] = np.uint8(a) + np.uint8(b)


@njit(cache=True, nogil=True)
def _lay_aside(
    values: NDArray[np.float32],
    mask: NDArray[np.uint16],
    bits: tuple[np.uint16, np.uint16],
    scratch: tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.uint8]],
    box: int,
    usable: NDArray[np.uint8],
    aside: LeftOutBoxes,
    n: int,
) -> int:
    """Append a row of boxes with left-out pixels to `aside`; return how many it has then.

    `scratch` is the cells of 8 that are spotted, and a row of boxes: zero before and after.
    """
    spotted, flux, counts = scratch
    for q in range(mask.shape[0]):
        _set_aside(values[:, q], mask[q], bits[0], bits[1], spotted, flux, counts)
    _count_usable(counts, usable)
    return int(_take_down(box, spotted, flux, counts, aside, n))


@njit(cache=True, nogil=True)
def _set_aside(
    values: NDArray[np.float32],
    mask: NDArray[np.uint16],
    blank: np.uint16,
    left_out: np.uint16,
    spotted: NDArray[np.uint8],
    flux: NDArray[np.float32],
    counts: NDArray[np.uint8],
) -> None:
    """Add the left-out pixels of a row's spotted cells to boxes."""
    for k in range(spotted.size):
        if spotted[k] == 0:
            continue
        for i in range(8 * k, min(8 * k + 8, mask.size)):
            if (mask[i] & left_out) == 0 or (mask[i] & blank) != 0:
                continue
            if np.isnan(values[0, i]) or np.isnan(values[1, i]):
                continue
            flux[i >> 1] += values[0, i]
            counts[i >> 1] += np.uint8(1)


@njit(cache=True, nogil=True)
def _take_down(
    row: int,
    spotted: NDArray[np.uint8],
    flux: NDArray[np.float32],
    counts: NDArray[np.uint8],
    aside: LeftOutBoxes,
    n: int,
) -> int:
    """Move a row of boxes in spotted cells to the end of `aside`; return how many it has then."""
    for k in range(spotted.size):
        if spotted[k] == 0:
            continue
        spotted[k] = 0
        for i in range(4 * k, min(4 * k + 4, counts.size)):
            if counts[i] == 0:
                continue
            aside.row[n], aside.column[n] = row, i
            aside.flux[n], aside.counts[n] = flux[i], counts[i]
            flux[i], counts[i] = 0, 0
            n += 1
    return n


@njit(cache=True, nogil=True)
def _pair_columns(columns: NDArray[Any], out: NDArray[Any]) -> None:
    """Sum columns two by two; the last one of an odd number stands alone."""
    for k in range(columns.size >> 1):
        out[k] = columns[2 * k] + columns[2 * k + 1]
    if columns.size & 1:
        out[columns.size >> 1] = columns[columns.size - 1]


@njit(cache=True, nogil=True)
def add_pairs(boxes: NDArray[Any], cells: NDArray[Any]) -> None:
    """Add a row of boxes to 1" cells.

    Parameters
    ----------
    boxes : (n,) array
        Two by two; the last one of an odd number stands alone.
    cells : (ceil(n / 2),) array
        Added to.
    """
    for k in range(boxes.size >> 1):
        cells[k] += boxes[2 * k] + boxes[2 * k + 1]
    if boxes.size & 1:
        cells[boxes.size >> 1] += boxes[boxes.size - 1]


@njit(cache=True, nogil=True)
def _count_usable(counts: NDArray[np.uint8], cells: NDArray[np.uint8]) -> None:
    """Add the counts of a row of boxes to 2" cells of four."""
    whole = counts.size >> 2
    for k in range(whole):
        cells[k] += counts[4 * k] + counts[4 * k + 1] + counts[4 * k + 2] + counts[4 * k + 3]
    for k in range(4 * whole, counts.size):
        cells[whole] += counts[k]
