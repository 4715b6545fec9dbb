"""Sample a scene where another FFI looks, twice a pixel: along the rows first, then across them.

`sample_field` sums 12 x 12 samples for every place; here it is 12 and 12 again. The displacement is
so smooth that over a *run* of places weights are straight lines, and every loop runs along memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from syndiff.kernels.compile import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["SPARE", "resample"]

SPARE = 0.25
"""Samples by which a place may leave the first one's square within a run; the table of weights
goes on as far."""

_ROWS = 32
# Output rows that are made from one set of resampled rows: 0.5 MB, which the cache holds.


@njit(cache=True, nogil=True)
def _weigh(
    table: NDArray[np.float32], first: float, last: float, length: int, out: NDArray[np.float32]
) -> int:
    """Set each tap's weight at the first place of a run, and its growth from place to place.

    Returns the sample left of the first place; the others may lie up to `SPARE` beyond its square.
    """
    left = int(np.floor(first))
    steps = (table.shape[0] - 1) / (1.0 + 2.0 * SPARE)
    taps = table.shape[1]
    for side in range(2):
        at = ((first if side == 0 else last) - left + SPARE) * steps
        k = min(max(int(at), 0), table.shape[0] - 2)
        t = np.float32(at - k)
        for n in range(taps):
            out[side, n] = table[k, n] + t * (table[k + 1, n] - table[k, n])
    for n in range(taps):
        out[1, n] = (out[1, n] - out[0, n]) / np.float32(length)
    return left


@njit(cache=True, nogil=True)
def _add_taps(
    a: NDArray[np.float32],
    b: NDArray[np.float32],
    c: NDArray[np.float32],
    weights: NDArray[np.float32],
    first: int,
    out: NDArray[np.float32],
) -> None:
    """Add three taps to a run of places; their samples lie side by side."""
    p, q, r = weights[0, first], weights[0, first + 1], weights[0, first + 2]
    dp, dq, dr = weights[1, first], weights[1, first + 1], weights[1, first + 2]
    for i in range(out.size):
        t = np.float32(i)
        out[i] += ((p + dp * t) * a[i] + (q + dq * t) * b[i]) + (r + dr * t) * c[i]


@njit(cache=True, nogil=True)
def _at(nodes: NDArray[np.float64], spacing: int, y: float, x: float) -> Any:
    """Interpolate the nodes of a lattice; beyond the outermost, the last square goes on."""
    j = min(max(int(np.floor(y / spacing)), 0), nodes.shape[0] - 2)
    i = min(max(int(np.floor(x / spacing)), 0), nodes.shape[1] - 2)
    t, s = y / spacing - j, x / spacing - i
    below = nodes[j, i] * (1.0 - s) + nodes[j, i + 1] * s
    above = nodes[j + 1, i] * (1.0 - s) + nodes[j + 1, i + 1] * s
    return below * (1.0 - t) + above * t


@njit(cache=True, nogil=True)
def _along_row(
    split: NDArray[np.float32],
    origin: int,
    columns: NDArray[np.float64],
    run: int,
    table: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    """Resample one row of a scene at places a pixel apart, but for a smooth displacement.

    `split[k, m]` is sample step * m + k of the row, `origin` the number of its first one;
    `columns[n]` is where the run's first place lies, in samples; a last one ends the last run.
    """
    step = split.shape[0]
    taps = table.shape[1]
    weights = np.empty((2, taps), np.float32)
    for n in range(columns.size - 1):
        start = n * run
        length = min(run, out.size - start)
        # Places drift against the pixels by what the next run's first one tells.
        end = columns[n + 1] - step * length
        left = _weigh(table, columns[n], end, length, weights) - origin - (taps // 2 - 1)
        target = out[start : start + length]
        target[:] = 0
        for t in range(0, taps, 3):
            a, b, c = left + t, left + t + 1, left + t + 2
            _add_taps(
                split[a % step, a // step :],
                split[b % step, b // step :],
                split[c % step, c // step :],
                weights,
                t,
                target,
            )


@njit(cache=True, nogil=True)
def _resample_rows(
    scene: NDArray[np.float32],
    corner: tuple[int, int],
    step: int,
    table: NDArray[np.float32],
    field: tuple[NDArray[np.float64], NDArray[np.float64], int],
    first: tuple[float, float],
    run: int,
    rows: tuple[int, int],
    out: NDArray[np.float32],
) -> None:
    """Resample scene rows at the columns of both phases in x; out[phase, row - rows[0]]."""
    dx, dy, spacing = field
    ny, nx = out.shape[0], out.shape[2]
    runs = (nx + run - 1) // run
    split = np.zeros((step, scene.shape[1] // step + 1 + run), np.float32)
    columns = np.empty(runs + 1)
    for row in range(rows[0], rows[1]):
        source = scene[row - corner[0]]
        for k in range(step):
            for m in range((source.size - k + step - 1) // step):
                split[k, m] = source[step * m + k]
        for i in range(ny):
            for n in range(runs + 1):
                x = first[1] + i / ny + min(n * run, nx)
                # Where the FFI has this row: the displacement belongs to the FFI's pixels.
                y = row / step
                y += _at(dy, spacing, y, x)
                columns[n] = (x - _at(dx, spacing, y, x)) * step
            _along_row(split, corner[1], columns, run, table, out[i, row - rows[0]])


@njit(cache=True, nogil=True)
def resample(
    scene: NDArray[np.float32],
    corner: tuple[int, int],
    step: int,
    table: NDArray[np.float32],
    field: tuple[NDArray[np.float64], NDArray[np.float64], int],
    first: tuple[float, float],
    run: int,
    out: NDArray[np.float32],
) -> None:
    """Sample a scene at a smooth displacement, several times a pixel.

    Parameters
    ----------
    scene : (rows, columns) float32
        Samples; every tap of every pixel must lie on one.
    corner : (int, int)
        Row and column of the scene's first sample, counted from FFI pixel (0, 0) in samples.
    step : int
        Samples per FFI pixel.
    table : (n + 1, taps) float32
        Kernel weights at fractions from -`SPARE` to 1 + `SPARE` of a sample. A multiple of 3 taps,
        an even number; half of them, less one, lie before the place.
    field : (dx, dy, spacing)
        Displacement at nodes, as `Places` has it.
    first : (float, float)
        FFI row and column of out[0, 0, 0, 0].
    run : int
        Pixels over which weights are straight lines. Over them the displacement must vary by less
        than `SPARE` samples; where it varies by v samples, fluxes err by 0.4 v^2 of a star's peak.
    out : (f, f, ny, nx) float32
        Written: out[j, i] is sampled j / f and i / f of a pixel farther on.

    Notes
    -----
    Scene row r is resampled along x where the FFI has that row; across the rows this is a function
    as smooth as the scene, so that interpolating it there is the two-dimensional interpolation.
    """
    _, dy, spacing = field
    fine, _, ny, nx = out.shape
    taps = table.shape[1]
    before = taps // 2 - 1
    runs = (nx + run - 1) // run
    places = np.empty((_ROWS * fine, fine, runs + 1))
    weights = np.empty((2, taps), np.float32)
    for top in range(0, ny, _ROWS):
        count = min(_ROWS, ny - top)
        for j in range(count * fine):
            y = first[0] + top + j / fine
            for i in range(fine):
                for n in range(runs + 1):
                    x = first[1] + i / fine + min(n * run, nx)
                    places[j, i, n] = (y - _at(dy, spacing, y, x)) * step
        used = places[: count * fine]
        low, high = int(np.floor(used.min())) - before, int(np.floor(used.max())) + taps - before
        rows = np.empty((fine, high - low, nx), np.float32)
        _resample_rows(scene, corner, step, table, field, first, run, (low, high), rows)
        for j in range(count * fine):
            for i in range(fine):
                target = out[j % fine, i, top + j // fine]
                target[:] = 0
                for n in range(runs):
                    start, end = n * run, min((n + 1) * run, nx)
                    left = _weigh(table, used[j, i, n], used[j, i, n + 1], end - start, weights)
                    left -= low + before
                    for t in range(0, taps, 3):
                        _add_taps(
                            rows[i, left + t, start:],
                            rows[i, left + t + 1, start:],
                            rows[i, left + t + 2, start:],
                            weights,
                            t,
                            target[start:end],
                        )
