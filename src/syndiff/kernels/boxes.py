"""Sums of stack pixels in boxes of 2x2 (0.5"), straight from their disk values."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from syndiff.kernels.coding import look_up
from syndiff.kernels.compile import njit

__all__ = ["BoxSums", "LeftOutSums", "StripRows", "sum_boxes"]


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


class LeftOutSums(NamedTuple):
    """What a strip's left-out pixels hold, in boxes; zero before the call."""

    flux: NDArray[np.float32]
    """(k/2, nx/2) flux of left-out pixels."""
    counts: NDArray[np.uint8]
    """(k/2, nx/2) left-out pixels, 0 to 4."""


@njit(cache=True, nogil=True)
def sum_boxes(
    strip: StripRows,
    first_row: int,
    blank: np.uint16,
    left_out: np.uint16,
    sums: BoxSums,
    aside: LeftOutSums,
) -> int:
    """Add one strip to `sums`; return how many pixels were left out.

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
    aside : LeftOutSums
        Set where pixels are left out.

    Returns
    -------
    int
        Pixels left out.

    Notes
    -----
    Every sum is taken in an order that depends on the pixels' places only: column by column in a
    box, box row by box row in a cell. So strips of any even length give the same bits.
    """
    rows, nx = strip.image.shape
    flux = np.empty(nx, np.float32)
    variance = np.empty(nx, np.float32)
    counts = np.empty(nx, np.uint8)
    # a row's own values: look-ups apart from arithmetic take less than half the time
    values = np.empty((2, nx), np.float32)
    n_left_out = 0
    for j in range(0, rows, 2):
        flux[:] = 0
        variance[:] = 0
        counts[:] = 0
        box = (first_row + j) >> 1
        for q in range(j, min(j + 2, rows)):
            bits = _collect_bits(strip.mask[q], sums.mask[box >> 2], sums.flagged[box >> 4])
            look_up(strip.image_values, strip.image[q], values[0])
            look_up(strip.variance_values, strip.variance[q], values[1])
            _add_row(values, strip.mask[q], blank | left_out, flux, variance, counts)
            if bits & left_out:
                n_left_out += _set_aside(
                    values, strip.mask[q], blank, left_out, aside.flux[j >> 1], aside.counts[j >> 1]
                )
        _pair_columns(flux, sums.flux[box])
        _pair_columns(counts, sums.counts[box])
        _pair_into_cells(variance, sums.variance[box >> 1])
        _count_usable(sums.counts[box], sums.usable[box >> 2])
        if n_left_out:
            _count_usable(aside.counts[j >> 1], sums.usable[box >> 2])
    return n_left_out


@njit(cache=True, nogil=True)
def _collect_bits(
    mask: NDArray[np.uint16], cells: NDArray[np.uint16], flagged: NDArray[np.uint16]
) -> np.uint16:
    """OR a row of mask bits into 2" cells, count flagged pixels in 8" cells; return their OR."""
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
        if union == 0:
            continue
        n = np.uint16(0)
        for i in range(8 * k, 8 * k + 8):
            n += np.uint16(mask[i] != 0)
        cells[k] |= union
        flagged[k >> 2] += n
    for i in range(8 * whole, mask.size):
        cells[whole] |= mask[i]
        flagged[whole >> 2] += np.uint16(mask[i] != 0)
    return bits


@njit(cache=True, nogil=True)
def _add_row(
    values: NDArray[np.float32],
    mask: NDArray[np.uint16],
    reject: np.uint16,
    flux: NDArray[np.float32],
    variance: NDArray[np.float32],
    counts: NDArray[np.uint8],
) -> None:
    """Add a row's contributing pixels to running sums, one per column."""
    for i in range(mask.size):
        x = values[0, i]
        v = values[1, i]
        # x == x is false for NaN only
        good = (x == x) & (v == v) & ((mask[i] & reject) == 0)
        flux[i] += x if good else np.float32(0)
        variance[i] += v if good else np.float32(0)
        counts[i] += np.uint8(good)


@njit(cache=True, nogil=True)
def _set_aside(
    values: NDArray[np.float32],
    mask: NDArray[np.uint16],
    blank: np.uint16,
    left_out: np.uint16,
    flux: NDArray[np.float32],
    counts: NDArray[np.uint8],
) -> int:
    """Add a row's left-out pixels to boxes; return how many there are."""
    total = 0
    for first in range(0, mask.size, 16):
        last = min(first + 16, mask.size)
        union = np.uint16(0)
        for i in range(first, last):
            union |= mask[i]
        # few pixels are left out, and looking at sixteen together costs a tenth
        if (union & left_out) == 0:
            continue
        for i in range(first, last):
            if (mask[i] & left_out) == 0 or (mask[i] & blank) != 0:
                continue
            if np.isnan(values[0, i]) or np.isnan(values[1, i]):
                continue
            flux[i >> 1] += values[0, i]
            counts[i >> 1] += np.uint8(1)
            total += 1
    return total


@njit(cache=True, nogil=True)
def _pair_columns(columns: NDArray[Any], out: NDArray[Any]) -> None:
    """Sum columns two by two; the last one of an odd number stands alone."""
    for k in range(columns.size >> 1):
        out[k] = columns[2 * k] + columns[2 * k + 1]
    if columns.size & 1:
        out[columns.size >> 1] = columns[columns.size - 1]


@njit(cache=True, nogil=True)
def _pair_into_cells(columns: NDArray[np.float32], cells: NDArray[np.float32]) -> None:
    """Add columns to 1" cells of four, two columns at a time."""
    for k in range(columns.size >> 1):
        cells[k >> 1] += columns[2 * k] + columns[2 * k + 1]
    if columns.size & 1:
        cells[columns.size >> 2] += columns[columns.size - 1]


@njit(cache=True, nogil=True)
def _count_usable(counts: NDArray[np.uint8], cells: NDArray[np.uint8]) -> None:
    """Add the counts of a row of boxes to 2" cells of four."""
    whole = counts.size >> 2
    for k in range(whole):
        cells[k] += counts[4 * k] + counts[4 * k + 1] + counts[4 * k + 2] + counts[4 * k + 3]
    for k in range(4 * whole, counts.size):
        cells[whole] += counts[k]
