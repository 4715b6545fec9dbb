"""Interpolate a scene at a constant offset, or at a displacement that varies over the FFI."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from syndiff.kernels.compile import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Places", "pick_flags", "sample_boxes", "sample_constant", "sample_field"]


class Places(NamedTuple):
    """Where a scene is sampled: pixel x of the FFI at x - d(x), d bilinear between nodes."""

    dx: NDArray[np.float64]
    """(my, mx) displacement in x, FFI pixels, at pixels ``(spacing * i, spacing * j)``."""
    dy: NDArray[np.float64]
    """(my, mx) displacement in y."""
    spacing: int
    """FFI pixels from one node to the next."""
    x: int
    """FFI column of out[0, 0]."""
    y: int
    """FFI row of out[0, 0]."""
    beside_x: float
    """How far from the pixels' centres is sampled: added last, so that rounding is the same in any
    window."""
    beside_y: float


@njit(cache=True, nogil=True)
def sample_constant(
    scene: NDArray[np.float32],
    row: int,
    column: int,
    step: int,
    taps_y: NDArray[np.float32],
    taps_x: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    """Sample a scene at regular steps with a separable kernel.

    Parameters
    ----------
    scene : (rows, columns) float32
        Samples.
    row, column : int
        Sample under the first tap for out[0, 0].
    step : int
        Samples from one output pixel to the next.
    taps_y, taps_x : (n,) float32
        Kernel weights; n is a multiple of 4 (fill up with zeros under samples that are there).
    out : (ny, nx) float32
        Written.

    Notes
    -----
    Four rows are added at a time, then every `step`-th sample is put side by side, so that the
    taps in x run along memory too. No sum is taken in another order than it is written: a pixel is
    bitwise the same in any window.
    """
    # Pixel x takes samples step x to step x + n - 1 of the line. With step = 4, side by side:
    #
    #     line        0 1 2 3 4 5 6 7 8 9 ...
    #     phase 0     0       4       8              tap t of pixel x is
    #     phase 1       1       5       9            phases[t % step, x + t // step],
    #     phase 2         2       6                  so that pixels side by side take
    #     phase 3           3       7              what lies side by side
    ny, nx = out.shape
    n = taps_x.size
    width = step * (nx - 1) + n
    length = nx + n // step + 1
    line = np.zeros(step * length, np.float32)
    phases = np.empty((step, length), np.float32)
    for y in range(ny):
        line[:] = 0
        for t in range(0, taps_y.size, 4):
            first = row + step * y + t
            _add_rows(scene, first, column, taps_y[t : t + 4], line[:width])
        for phase in range(step):
            for x in range(length):
                phases[phase, x] = line[step * x + phase]
        target = out[y]
        target[:] = 0
        for t in range(0, n, 4):
            _add_taps(phases, t, step, taps_x, target)


@njit(cache=True, nogil=True)
def _add_rows(
    scene: NDArray[np.float32],
    row: int,
    column: int,
    taps: NDArray[np.float32],
    line: NDArray[np.float32],
) -> None:
    """Add four weighted rows to a line."""
    # Slices that begin at 0: an index that could be negative would keep the loop from vectors.
    a, b = scene[row, column:], scene[row + 1, column:]
    c, d = scene[row + 2, column:], scene[row + 3, column:]
    p, q, r, s = taps[0], taps[1], taps[2], taps[3]
    for i in range(line.size):
        line[i] += (p * a[i] + q * b[i]) + (r * c[i] + s * d[i])


@njit(cache=True, nogil=True)
def _add_taps(
    phases: NDArray[np.float32],
    first: int,
    step: int,
    taps: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    """Add four weighted samples, from tap `first` on, to every pixel of a row."""
    a, b = phases[first % step, first // step :], phases[(first + 1) % step, (first + 1) // step :]
    c = phases[(first + 2) % step, (first + 2) // step :]
    d = phases[(first + 3) % step, (first + 3) // step :]
    p, q, r, s = taps[first], taps[first + 1], taps[first + 2], taps[first + 3]
    for x in range(out.size):
        out[x] += (p * a[x] + q * b[x]) + (r * c[x] + s * d[x])


@njit(cache=True, nogil=True)
def sample_boxes(
    flags: NDArray[np.uint8], row: int, column: int, step: int, size: int, out: NDArray[np.uint8]
) -> None:
    """Combine by "or" the size x size flags that start at (row + step*y, column + step*x).

    Parameters
    ----------
    flags : (rows, columns) uint8
        Bits.
    row, column : int
        First flag for out[0, 0].
    step : int
        Flags from one output pixel to the next.
    size : int
        Flags along a side of the box.
    out : (ny, nx) uint8
        Written.
    """
    ny, nx = out.shape
    line = np.empty(step * (nx - 1) + size, np.uint8)
    for y in range(ny):
        line[:] = 0
        for j in range(row + step * y, row + step * y + size):
            source = flags[j, column:]
            for i in range(line.size):
                line[i] |= source[i]
        target = out[y]
        target[:] = 0
        for k in range(size):
            shifted = line[k:]
            for x in range(nx):
                target[x] |= shifted[step * x]


@njit(cache=True, nogil=True)
def _blend_rows(
    nodes: NDArray[np.float64], spacing: int, y: float, out: NDArray[np.float64]
) -> None:
    """Interpolate the nodes of a lattice along y; beyond the outermost, the last square goes on."""
    j = min(max(int(np.floor(y / spacing)), 0), nodes.shape[0] - 2)
    t = y / spacing - j
    for i in range(out.size):
        out[i] = nodes[j, i] * (1.0 - t) + nodes[j + 1, i] * t


@njit(cache=True, nogil=True)
def _between(places: Places, left: NDArray[np.int64], part: NDArray[np.float64]) -> None:
    """Find for each column the node to its left, and how far it is past it."""
    last = places.dx.shape[1] - 2
    for i in range(left.size):
        at = (places.x + i + places.beside_x) / places.spacing
        left[i] = min(max(int(np.floor(at)), 0), last)
        part[i] = at - left[i]


@njit(cache=True, nogil=True)
def _blend_taps(table: NDArray[np.float32], fraction: float, out: NDArray[np.float32]) -> None:
    """Interpolate the table of taps, so that their sum stays what it is in the table."""
    steps = table.shape[0] - 1
    k = min(int(fraction * steps), steps - 1)
    t = np.float32(fraction * steps - k)
    below, above = table[k], table[k + 1]
    for m in range(out.size):
        out[m] = below[m] + t * (above[m] - below[m])


@njit(cache=True, nogil=True)
def sample_field(
    scene: NDArray[np.float32],
    corner: tuple[int, int],
    step: int,
    table: NDArray[np.float32],
    places: Places,
    out: NDArray[np.float32],
) -> None:
    """Sample a scene with a separable kernel at a displacement that varies from pixel to pixel.

    Parameters
    ----------
    scene : (rows, columns) float32
        Samples; every tap of every pixel must lie on one.
    corner : (int, int)
        Row and column of the scene's first sample, counted from FFI pixel (0, 0) in samples.
    step : int
        Samples per FFI pixel.
    table : (n + 1, taps) float32
        Kernel weights at fractions 0, 1/n, ... 1 of a sample; between them they are interpolated.
        An even number of taps; half of them, less one, lie before the place.
    places : Places
        Where the pixels are.
    out : (ny, nx) float32
        Written.

    Notes
    -----
    Twelve columns are summed along the rows side by side, and then added up: both run along
    memory. What a pixel gets depends on its place in the FFI alone, so that it is bitwise the same
    in any window.
    """
    taps = table.shape[1]
    before = taps // 2 - 1
    shift_x, shift_y = np.empty((2, places.dx.shape[1]))
    across, down = np.empty(taps, np.float32), np.empty(taps, np.float32)
    line = np.empty(taps, np.float32)
    node, part = np.empty(out.shape[1], np.int64), np.empty(out.shape[1])
    _between(places, node, part)
    for j in range(out.shape[0]):
        y = places.y + j + places.beside_y
        _blend_rows(places.dx, places.spacing, y, shift_x)
        _blend_rows(places.dy, places.spacing, y, shift_y)
        for i in range(out.shape[1]):
            k, t, x = node[i], part[i], places.x + i + places.beside_x
            column = (x - (shift_x[k] * (1.0 - t) + shift_x[k + 1] * t)) * step
            row = (y - (shift_y[k] * (1.0 - t) + shift_y[k + 1] * t)) * step
            # The sample to the left and above, and how far past it: which taps, and their weights.
            left, top = np.floor(column), np.floor(row)
            _blend_taps(table, column - left, across)
            _blend_taps(table, row - top, down)
            first_row = int(top) - before - corner[0]
            first_column = int(left) - before - corner[1]
            line[:] = 0
            for m in range(taps):
                source = scene[first_row + m, first_column:]
                weight = down[m]
                for n in range(taps):
                    line[n] += weight * source[n]
            total = np.float32(0)
            for n in range(taps):
                total += across[n] * line[n]
            out[j, i] = total


@njit(cache=True, nogil=True)
def pick_flags(
    flags: NDArray[np.uint8],
    corner: tuple[int, int],
    step: int,
    places: Places,
    out: NDArray[np.uint8],
) -> None:
    """Take the flags nearest to each pixel's place.

    Parameters
    ----------
    flags : (rows, columns) uint8
        Bits.
    corner : (int, int)
        Row and column of the first flag, counted from FFI pixel (0, 0) in flags.
    step : int
        Flags per FFI pixel.
    places : Places
        Where the pixels are.
    out : (ny, nx) uint8
        Written.
    """
    shift_x, shift_y = np.empty((2, places.dx.shape[1]))
    node, part = np.empty(out.shape[1], np.int64), np.empty(out.shape[1])
    _between(places, node, part)
    for j in range(out.shape[0]):
        y = places.y + j + places.beside_y
        _blend_rows(places.dx, places.spacing, y, shift_x)
        _blend_rows(places.dy, places.spacing, y, shift_y)
        for i in range(out.shape[1]):
            k, t, x = node[i], part[i], places.x + i + places.beside_x
            column = round((x - (shift_x[k] * (1.0 - t) + shift_x[k + 1] * t)) * step)
            row = round((y - (shift_y[k] * (1.0 - t) + shift_y[k + 1] * t)) * step)
            out[j, i] = flags[int(row) - corner[0], int(column) - corner[1]]
