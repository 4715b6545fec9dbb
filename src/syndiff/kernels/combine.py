"""Passes over all cells of a skycell while its bands are combined."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from syndiff.kernels.compile import njit

__all__ = [
    "CodedLight",
    "decode_cells",
    "guess_lost",
    "mark_lit",
    "raise_flags",
    "stand_in",
    "sum_bright",
    "sum_changes",
    "take_share",
    "weigh_bands",
    "weigh_codes",
]


class CodedLight(NamedTuple):
    """Light of a skycell as the atlas has it."""

    patterns: NDArray[np.uint16]
    """(ny, nx, k) bit patterns of codes; 0 is no light."""
    tables: NDArray[np.float32]
    """(k, 65536) light of each pattern."""
    bands: NDArray[np.int64]
    """(k,) which bands they are."""


@njit(cache=True, nogil=True)
def weigh_codes(
    light: CodedLight,
    weights: NDArray[np.float32],
    invalid: NDArray[np.uint8],
    least: float,
    total: NDArray[np.float32],
    sums: NDArray[np.float64],
) -> None:
    """Do as `weigh_bands` and `sum_bright` in one pass over codes, of which most are 0.

    Parameters
    ----------
    light : CodedLight
        Light of each band.
    weights : (bands,) float32
        As in `weigh_bands`.
    invalid, least
        As in `sum_bright`.
    total : (ny, nx) float32
        As in `weigh_bands`.
    sums
        As in `sum_bright`; no cell without light is bright.
    """
    patterns, tables, bands = light
    limit = np.float32(least)
    for j in range(total.shape[0]):
        codes, row, lacks = patterns[j], total[j], invalid[j]
        row[:] = 0
        for i in range(row.size):
            # Pattern 0 is light 0: one "or" of all bands tells that most cells have none.
            is_lit = np.uint16(0)
            for k in range(bands.size):
                is_lit |= codes[i, k]
            if is_lit == 0:
                continue
            value = np.float32(0)
            for k in range(bands.size):
                value += weights[bands[k]] * tables[k, codes[i, k]]
            row[i] = value
            if value > limit and lacks[i] == 0:
                for k in range(bands.size):
                    sums[bands[k]] += tables[k, codes[i, k]]


@njit(cache=True, nogil=True)
def decode_cells(
    light: CodedLight,
    row: NDArray[np.int64],
    column: NDArray[np.int64],
    out: NDArray[np.float32],
) -> None:
    """Look up the light of some cells.

    Parameters
    ----------
    light : CodedLight
        Light of each band.
    row, column : (n,) int64
        The cells.
    out : (bands, n) float32
        Set; 0 in bands without codes.
    """
    patterns, tables, bands = light
    out[:] = 0
    for k in range(bands.size):
        target = out[bands[k]]
        for m in range(row.size):
            target[m] = tables[k, patterns[row[m], column[m], k]]


@njit(cache=True, nogil=True)
def mark_lit(total: NDArray[np.float32], flags: NDArray[np.uint8], out: NDArray[np.uint8]) -> None:
    """Mark the cells that have light or a flag.

    Parameters
    ----------
    total : (ny, nx) float32
        Light.
    flags : (ny, nx) uint8
        Flags.
    out : (ny, nx) uint8
        Set to 1 or 0.
    """
    for j in range(out.shape[0]):
        light, raised, target = total[j], flags[j], out[j]
        for i in range(target.size):
            target[i] = (light[i] != 0) | (raised[i] != 0)


@njit(cache=True, nogil=True)
def take_share(
    share: NDArray[np.float32], total: NDArray[np.float32], flags: NDArray[np.uint8]
) -> None:
    """Multiply light by a skycell's share; take the flags away where it has none.

    Parameters
    ----------
    share : (ny, nx) float32
        The share.
    total : (ny, nx) float32
        Light; modified.
    flags : (ny, nx) uint8
        Flags; modified.
    """
    for j in range(share.shape[0]):
        parts, row, raised = share[j], total[j], flags[j]
        for i in range(parts.size):
            row[i] *= parts[i]
        for i in range(parts.size):
            raised[i] = raised[i] if parts[i] != 0 else np.uint8(0)


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
    anywhere, flag = bits[0], flags[0]
    beside = np.empty(left_out.shape[2], np.uint16)
    for j in range(ny):
        row, target = mask[j], out[j]
        for i in range(nx):
            target[i] = flag if row[i] & anywhere else np.uint8(0)
        # Four rows of 2" cells share a row of 8" cells: bands are or-ed once for the four.
        if j % 4 == 0:
            beside[:] = 0
            for band in range(left_out.shape[0]):
                counts = left_out[band, j >> 2]
                for I in range(beside.size):
                    beside[I] |= counts[I]
        for I in range(beside.size):
            if beside[I]:
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


@njit(cache=True, nogil=True)
def sum_bright(
    total: NDArray[np.float32],
    invalid: NDArray[np.uint8],
    least: float,
    light: NDArray[np.float32],
    sums: NDArray[np.float64],
) -> None:
    """Sum the light of the cells with bright light in all bands, band by band.

    Parameters
    ----------
    total : (ny, nx) float32
        Weighted sum of the bands.
    invalid : (ny, nx) uint8
        Bands without data.
    least : float
        Light that more is bright.
    light : (bands, ny, nx) float32
        Light of each band.
    sums : (bands,) float64
        Added to.
    """
    limit = np.float32(least)
    ny, nx = total.shape
    is_bright = np.empty(nx, np.uint8)
    for j in range(ny):
        row, lacks = total[j], invalid[j]
        for i in range(nx):
            is_bright[i] = (row[i] > limit) & (lacks[i] == 0)
        for i in range(nx):
            if is_bright[i]:
                for band in range(sums.size):
                    sums[band] += light[band, j, i]


@njit(cache=True, nogil=True)
def _brightest_around(
    row: int,
    column: int,
    is_rim: bool,
    hole: NDArray[np.uint8],
    total: NDArray[np.float32],
    out: NDArray[np.float32],
) -> float:
    """Return the most light next to a cell: outside of holes, or of what is guessed in them."""
    brightest = np.float32(0)
    for j in range(max(row - 1, 0), min(row + 2, hole.shape[0])):
        for i in range(max(column - 1, 0), min(column + 2, hole.shape[1])):
            if not is_rim:
                brightest = max(brightest, out[j, i])
            elif hole[j, i] == 0:
                brightest = max(brightest, total[j, i])
    return float(brightest)


@njit(cache=True, nogil=True)
def guess_lost(
    hole: NDArray[np.uint8],
    cells: tuple[NDArray[np.int64], NDArray[np.int64]],
    total: NDArray[np.float32],
    limits: tuple[float, float, float],
    out: NDArray[np.float32],
) -> None:
    """Guess how bright the cells of holes are, from their rims inwards.

    Parameters
    ----------
    hole : (ny, nx) uint8
        0 outside of holes; else how many cells from the rim one may be for a guess.
    cells : (row, column) of (n,) int64
        Where it is not 0; modified.
    total : (ny, nx) float32
        Light of all cells.
    limits : (float, float, float)
        Light of a cell on the rim that more is bright; growth by each cell inwards; the most.
    out : (ny, nx) float32
        Set where a way from a bright rim leads to; must be 0.
    """
    # A hole is filled like a pond from its rim, a ring of cells a turn:
    #
    #     * * * * *        * light outside    a ring's guess is `growth` times the brightest of the
    #     * 1 1 1 *                           cells around it that light or the ring before gave;
    #     * 1 2 1 *                           a dark rim begins no ring, so an empty hole stays dark
    #     * 1 1 1 *
    #     * * * * *
    #
    # A turn's guesses are kept apart until all are made: else they would feed on each other, and
    # depend on the order of the cells.
    row, column = cells
    least, growth, most = limits
    fresh = np.empty(row.size, np.float32)
    left, turn, found = row.size, 0, 1
    while found:
        turn, found = turn + 1, 0
        for k in range(left):
            brightest = 0.0
            if turn <= hole[row[k], column[k]]:
                brightest = _brightest_around(row[k], column[k], turn == 1, hole, total, out)
            fresh[k] = 0
            if brightest > (least if turn == 1 else 0.0):
                guess = growth * brightest
                fresh[k] = min(most, guess)
        # Cells without a guess move up in the list, which the next turn looks at alone.
        still = 0
        for k in range(left):
            if fresh[k] > 0:
                out[row[k], column[k]] = fresh[k]
                found += 1
            else:
                row[still], column[still] = row[k], column[k]
                still += 1
        left = still


@njit(cache=True, nogil=True)
def stand_in(
    row: NDArray[np.int64],
    column: NDArray[np.int64],
    light: NDArray[np.float32],
    shares: NDArray[np.float32],
    bits: NDArray[np.uint8],
    weights: NDArray[np.float32],
    total: NDArray[np.float32],
) -> None:
    """Set cells that lack bands to the sum of those that are there.

    Parameters
    ----------
    row, column : (n,) int64
        The cells.
    light : (bands, n) float32
        Light of each band there.
    shares : (bands, n) float32
        The skycell's share of each band.
    bits : (n,) uint8
        Bands that are missing.
    weights : (bands, sets) float32
        Weights of the bands for each set of missing ones.
    total : (ny, nx) float32
        Set at the cells; the sum is taken in the order of the bands, in float32.
    """
    for k in range(row.size):
        value = np.float32(0)
        for band in range(light.shape[0]):
            value += weights[band, bits[k]] * (light[band, k] * shares[band, k])
        total[row[k], column[k]] = value
