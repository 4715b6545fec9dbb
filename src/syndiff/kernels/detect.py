"""Separation of light and background on 1" cells: level, matched filter, growth."""

import numpy as np
from numpy.typing import NDArray

from syndiff.kernels.boxes import add_pairs
from syndiff.kernels.compile import njit

__all__ = [
    "add_residual",
    "count_marked",
    "grow",
    "mark_wide",
    "matched_filter",
    "median",
    "mesh_medians",
    "mesh_sums",
    "sum_cells",
    "sum_dark",
]


@njit(cache=True, nogil=True)
def sum_cells(
    flux: NDArray[np.float32],
    count: NDArray[np.uint8],
    cell_flux: NDArray[np.float32],
    cell_count: NDArray[np.uint8],
) -> None:
    """Sum boxes of 0.5" into cells of 1" (two by two; fewer at an odd edge).

    Parameters
    ----------
    flux, count : (nby, nbx) float32, uint8
        Flux and contributing pixels of the boxes.
    cell_flux, cell_count : (ceil(nby/2), ceil(nbx/2)) float32, uint8
        Set.
    """
    cell_flux[:] = 0
    cell_count[:] = 0
    for j in range(flux.shape[0]):
        add_pairs(flux[j], cell_flux[j >> 1])
        add_pairs(count[j], cell_count[j >> 1])


@njit(cache=True, nogil=True)
def mesh_medians(
    cell_flux: NDArray[np.float32],
    cell_count: NDArray[np.uint8],
    detected: NDArray[np.uint8],
    step: int,
    fewest: int,
    out: NDArray[np.float32],
    looked_at: NDArray[np.int32],
) -> None:
    """Set `out` to the median level of each 64" mesh cell, per PS1 pixel.

    Parameters
    ----------
    cell_flux, cell_count, detected : (ncy, ncx) float32, uint8, uint8
        Sums of 1" cells, their contributing pixels, and 1 where a cell holds light.
    step : int
        Every `step`-th row and column of cells is looked at.
    fewest : int
        Samples below which a mesh cell is NaN.
    out : (ceil(ncy/64), ceil(ncx/64)) float32
        Set; from cells that are whole (16 pixels) and dark only.
    looked_at : (ceil(ncy/64), ceil(ncx/64)) int32
        Set: how many they are.
    """
    samples = np.empty(64 * 64 + 1, np.float32)
    rows, columns = cell_flux.shape
    for J in range(out.shape[0]):
        for I in range(out.shape[1]):
            n = 0
            for j in range(64 * J, min(64 * J + 64, rows), step):
                for i in range(64 * I, min(64 * I + 64, columns), step):
                    # written in any case, to be overwritten: no branch to guess
                    samples[n] = cell_flux[j, i]
                    n += (cell_count[j, i] == 16) & (detected[j, i] == 0)
            looked_at[J, I] = n
            out[J, I] = median(samples[:n]) / np.float32(16) if n >= fewest else np.nan


@njit(cache=True, nogil=True)
def mesh_sums(
    cell_flux: NDArray[np.float32],
    cell_count: NDArray[np.uint8],
    detected: NDArray[np.uint8],
    level: NDArray[np.float32],
    sums: NDArray[np.float64],
    counts: NDArray[np.float64],
) -> None:
    """Add up what dark cells hold above the level, by 64" mesh cells.

    Parameters
    ----------
    cell_flux, cell_count, detected : (ncy, ncx) float32, uint8, uint8
        Sums of 1" cells, their contributing pixels, and 0 where a cell is dark.
    level : (ceil(ncy/64), ceil(ncx/64)) float32
        Level per PS1 pixel.
    sums, counts : (ceil(ncy/64), ceil(ncx/64)) float64
        Added to: light, pixels.
    """
    rows, columns = cell_flux.shape
    for j in range(rows):
        for I in range(level.shape[1]):
            part = slice(64 * I, min(64 * I + 64, columns))
            flux, count, marked = cell_flux[j, part], cell_count[j, part], detected[j, part]
            # Values chosen, not branches taken: so the loop becomes vectors. Sums of a stretch of
            # 64 in float32, which the mesh cell's, in float64, are made of.
            light, pixels = np.float32(0), 0
            for i in range(flux.size):
                is_dark = marked[i] == 0
                light += flux[i] if is_dark else np.float32(0)
                pixels += count[i] if is_dark else 0
            sums[j >> 6, I] += light - level[j >> 6, I] * np.float32(pixels)
            counts[j >> 6, I] += pixels


@njit(cache=True, nogil=True)
def sum_dark(
    flux: NDArray[np.float32],
    variance: NDArray[np.float32],
    detected: NDArray[np.uint8],
    block_flux: NDArray[np.float32],
    block_variance: NDArray[np.float32],
) -> None:
    """Add up dark cells by blocks of 4x4.

    Parameters
    ----------
    flux, variance, detected : (ncy, ncx) float32, float32, uint8
        Sums of 1" cells, and 0 where a cell is dark.
    block_flux, block_variance : (ceil(ncy/4), ceil(ncx/4)) float32
        Added to.
    """
    rows, columns = flux.shape
    # Three columns more: the last block may reach beyond the edge, where nothing is.
    light = np.zeros(columns + 3, np.float32)
    noise = np.zeros(columns + 3, np.float32)
    for j in range(rows):
        f, v, marked = flux[j], variance[j], detected[j]
        for i in range(f.size):
            is_dark = marked[i] == 0
            light[i] += f[i] if is_dark else np.float32(0)
            noise[i] += v[i] if is_dark else np.float32(0)
        if j % 4 == 3 or j == rows - 1:
            for I in range(block_flux.shape[1]):
                for i in range(4 * I, 4 * I + 4):
                    block_flux[j >> 2, I] += light[i]
                    block_variance[j >> 2, I] += noise[i]
            light[:] = 0
            noise[:] = 0


@njit(cache=True, nogil=True)
def count_marked(marked: NDArray[np.uint8], out: NDArray[np.uint8]) -> None:
    """Count marked cells by blocks of 4x4.

    Parameters
    ----------
    marked : (ncy, ncx) uint8
        0 or 1.
    out : (ceil(ncy/4), ceil(ncx/4)) uint8
        Added to.
    """
    for j in range(marked.shape[0]):
        row, target = marked[j], out[j >> 2]
        for i in range(row.size):
            target[i >> 2] += row[i]


@njit(cache=True, nogil=True)
def mark_wide(
    wide: NDArray[np.uint8], variance: NDArray[np.float32], out: NDArray[np.uint8]
) -> None:
    """Set the cells of marked 8" cells that have data to 2.

    Parameters
    ----------
    wide : (ceil(ncy/8), ceil(ncx/8)) uint8
        1 where 8" cells are marked.
    variance, out : (ncy, ncx) float32, uint8
        Of 1" cells; `out` is modified.
    """
    rows, columns = out.shape
    for j in range(rows):
        for I in range(wide.shape[1]):
            if wide[j >> 3, I]:
                for i in range(8 * I, min(8 * I + 8, columns)):
                    if variance[j, i] > 0:
                        out[j, i] = 2


@njit(cache=True, nogil=True)
def median(samples: NDArray[np.float32]) -> np.float32:
    """Return a median.

    Parameters
    ----------
    samples : (n,) float32
        One finite number or more; lost.

    Returns
    -------
    float32
        The middle one, or the mean of the two middle ones.

    Notes
    -----
    By halving the range in which it lies: to count what lies below takes vectors, where a partition
    waits for each comparison (measured: six times as fast for 1000 numbers).
    """
    # The bits of floats, read as whole numbers, are in order where the sign is +; where it is -,
    # larger numbers are lower. To invert all bits but the sign of the latter puts both in order.
    # (That is why no NaN may be among them: it would count as beyond infinity.)
    keys = samples.view(np.int32)
    for i in range(keys.size):
        keys[i] ^= (keys[i] >> 31) & 0x7FFFFFFF
    half = (keys.size - 1) >> 1
    # As int64: the sum of two of 32 bits would overflow. At most 32 turns.
    low, high = np.int64(keys.min()), np.int64(keys.max())
    while low < high:
        middle = (low + high) >> 1
        if _count_up_to(keys, np.int32(middle)) > half:
            high = middle
        else:
            low = middle + 1
    # For an even number, the upper of the two middle ones: the same value, or the next larger one.
    following = low
    if keys.size % 2 == 0 and _count_up_to(keys, np.int32(low)) == half + 1:
        following = np.int64(0x7FFFFFFF)
        for i in range(keys.size):
            if keys[i] > low:
                following = min(following, keys[i])
    keys[0] = low ^ ((low >> 31) & 0x7FFFFFFF)
    one = samples[0]
    keys[0] = following ^ ((following >> 31) & 0x7FFFFFFF)
    return np.float32(0.5 * (one + samples[0]))


@njit(cache=True, nogil=True)
def _count_up_to(keys: NDArray[np.int32], limit: np.int32) -> int:
    """Return how many numbers are at most `limit`."""
    count = 0
    for i in range(keys.size):
        count += keys[i] <= limit
    return count


@njit(cache=True, nogil=True)
def add_residual(
    cell_flux: NDArray[np.float32],
    cell_count: NDArray[np.uint8],
    level: NDArray[np.float32],
    weight: np.float32,
    out: NDArray[np.float32],
) -> None:
    """Add one band's 1" sums, level taken out, to the weighted sum of all bands.

    Parameters
    ----------
    cell_flux, cell_count : (ncy, ncx) float32, uint8
        Sums of 1" cells and their contributing pixels.
    level : (ceil(ncy/64), ceil(ncx/64)) float32
        Level per PS1 pixel.
    weight : float32
        The band's weight.
    out : (ncy, ncx) float32
        Added to.
    """
    rows, columns = cell_flux.shape
    for j in range(rows):
        for I in range(level.shape[1]):
            height = level[j >> 6, I]
            # Slices that begin at 0 let the compiler use vectors.
            part = slice(64 * I, min(64 * I + 64, columns))
            flux, count, target = cell_flux[j, part], cell_count[j, part], out[j, part]
            for i in range(target.size):
                target[i] += weight * (flux[i] - height * np.float32(count[i]))


@njit(cache=True, nogil=True)
def matched_filter(
    flux: NDArray[np.float32], variance: NDArray[np.float32], out: NDArray[np.float32]
) -> None:
    """Set `out` to the signal-to-noise ratio under a [1 2 1] x [1 2 1] filter.

    Parameters
    ----------
    flux, variance : (ncy, ncx) float32
        Sums of 1" cells; a variance of 0 or less means no data. Beyond the edge there is none.
    out : (ncy, ncx) float32
        Set; NaN where the cell itself has no data.

    Notes
    -----
    sum(k f) / sqrt(sum(k^2 v)) with noise taken as independent from cell to cell.
    """
    rows, columns = flux.shape
    # Three rows at hand, taken in turn (row j in slot j % 3), one column of nothing on either side:
    #
    #     row j - 1   slot c   1 2 1        weights of the signal; those of the variance are their
    #     row j       slot b   2 4 2        squares, 1 4 1, 4 16 4, 1 4 1
    #     row j + 1   slot a   1 2 1        read just before row j is done
    f = np.zeros((3, columns + 2), np.float32)
    v = np.zeros((3, columns + 2), np.float32)
    signal = np.empty(columns, np.float32)
    noise = np.empty(columns, np.float32)
    for j in range(-1, rows):
        a = (j + 1) % 3
        f[a] = 0
        v[a] = 0
        if j + 1 < rows:
            for i in range(columns):
                if variance[j + 1, i] > 0:
                    f[a, i + 1] = flux[j + 1, i]
                    v[a, i + 1] = variance[j + 1, i]
        if j < 0:
            continue
        b = j % 3
        c = (j - 1) % 3
        _weigh_rows(f[c], f[b], f[a], np.float32(2), signal)
        _weigh_rows(v[c], v[b], v[a], np.float32(4), noise)
        middle, target = v[b], out[j]
        for i in range(target.size):
            is_known = middle[i + 1] > 0
            target[i] = signal[i] / np.sqrt(noise[i]) if is_known else np.float32(np.nan)


@njit(cache=True, nogil=True)
def _weigh_rows(
    above: NDArray[np.float32],
    row: NDArray[np.float32],
    below: NDArray[np.float32],
    middle: np.float32,
    out: NDArray[np.float32],
) -> None:
    """Set `out` to the sum of 3x3 cells, `middle` times as much weight on each middle one."""
    for i in range(out.size):
        a = above[i] + middle * above[i + 1] + above[i + 2]
        b = row[i] + middle * row[i + 1] + row[i + 2]
        c = below[i] + middle * below[i + 1] + below[i + 2]
        out[i] = a + middle * b + c


@njit(cache=True, nogil=True)
def grow(marked: NDArray[np.uint8], out: NDArray[np.uint8]) -> None:
    """Set `out` to `marked` grown by one cell in all eight directions.

    Parameters
    ----------
    marked, out : (ncy, ncx) uint8
        0 or 1; `out` is set.
    """
    rows, columns = marked.shape
    # one column of nothing on either side
    near = np.zeros(columns + 2, np.uint8)
    inner = near[1:]
    for j in range(rows):
        above, row = marked[max(j - 1, 0)], marked[j]
        below, target = marked[min(j + 1, rows - 1)], out[j]
        for i in range(row.size):
            inner[i] = above[i] | row[i] | below[i]
        for i in range(target.size):
            target[i] = near[i] | near[i + 1] | near[i + 2]
