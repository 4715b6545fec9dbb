"""Passes over all cells of a skycell while its bands are combined."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from syndiff.kernels.compile import njit

__all__ = [
    "CodedLight",
    "decode_cells",
    "find_beside",
    "find_bright",
    "mark_lit",
    "raise_flags",
    "stand_in",
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
    is_bright: NDArray[np.uint8],
    sums: NDArray[np.float64],
) -> None:
    """Do as `weigh_bands` and `find_bright` in one pass over codes, of which most are 0.

    Parameters
    ----------
    light : CodedLight
        Light of each band.
    weights : (bands,) float32
        As in `weigh_bands`.
    invalid, least
        As in `find_bright`.
    total : (ny, nx) float32
        As in `weigh_bands`.
    is_bright, sums
        As in `find_bright`; no cell without light is bright.
    """
    patterns, tables, bands = light
    limit = np.float32(least)
    for j in range(total.shape[0]):
        codes, row, lacks, bright = patterns[j], total[j], invalid[j], is_bright[j]
        row[:] = 0
        bright[:] = 0
        for i in range(row.size):
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
                bright[i] = 1
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
def find_bright(
    total: NDArray[np.float32],
    invalid: NDArray[np.uint8],
    least: float,
    light: NDArray[np.float32],
    is_bright: NDArray[np.uint8],
    sums: NDArray[np.float64],
) -> None:
    """Find the cells with bright light in all bands, and sum it band by band.

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
    is_bright : (ny, nx) uint8
        Set to 1 or 0.
    sums : (bands,) float64
        Added to.
    """
    limit = np.float32(least)
    ny, nx = total.shape
    for j in range(ny):
        row, lacks, target = total[j], invalid[j], is_bright[j]
        for i in range(nx):
            target[i] = (row[i] > limit) & (lacks[i] == 0)
        for i in range(nx):
            if target[i]:
                for band in range(sums.size):
                    sums[band] += light[band, j, i]


@njit(cache=True, nogil=True)
def find_beside(
    row: NDArray[np.int64],
    column: NDArray[np.int64],
    is_bright: NDArray[np.uint8],
    reach: int,
    out: NDArray[np.uint8],
) -> None:
    """Tell which cells have a bright one in the square that reaches some cells to each side.

    Parameters
    ----------
    row, column : (n,) int64
        The cells.
    is_bright : (ny, nx) uint8
        1 where bright.
    reach : int
        Cells to each side.
    out : (n,) uint8
        Set to 1 or 0.
    """
    ny, nx = is_bright.shape
    for k in range(row.size):
        out[k] = 0
        for j in range(max(row[k] - reach, 0), min(row[k] + reach + 1, ny)):
            for i in range(max(column[k] - reach, 0), min(column[k] + reach + 1, nx)):
                out[k] |= is_bright[j, i]


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
