"""Interpolate a scene at a constant offset."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from syndiff.kernels.compile import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["sample_boxes", "sample_constant"]


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
