"""Convolve finely sampled images with a kernel that varies over the field, at pixels only."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from syndiff.kernels.compile import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["convolve_cubic", "convolve_varying"]


@njit(cache=True, nogil=True)
def convolve_varying(
    phases: NDArray[np.float32],
    taps: NDArray[np.int64],
    coefficients: NDArray[np.float64],
    down: NDArray[np.float64],
    across: NDArray[np.float64],
    out: NDArray[np.float64],
) -> None:
    """Sum samples around each pixel, with weights that are polynomials of the pixel's place.

    Parameters
    ----------
    phases : (f, f, rows, columns) float32
        Samples, f to a pixel and axis, taken apart: those of one phase lie side by side.
    taps : (m, 4) int64
        Phase in y and x of each tap, and its row and column for out[0, 0].
    coefficients : (m, ky, kx) float64
        Of each tap's weight, on the products of polynomials in y and in x.
    down, across : (ky, ny), (kx, nx) float64
        Values of the polynomials in y and in x.
    out : (ny, nx) float64
        Written.
    """
    ny, nx = out.shape
    orders = across.shape[0]
    weight = np.empty(nx)
    for y in range(ny):
        target = out[y]
        target[:] = 0
        for m in range(taps.shape[0]):
            # The tap's weight along the row, sum_k (sum_j c[j, k] P_j(y)) P_k(x): what is in
            # brackets is one number for the row, so all loops over x are plain sums of rows.
            weight[:] = 0
            for k in range(orders):
                factor = 0.0
                for j in range(down.shape[0]):
                    factor += coefficients[m, j, k] * down[j, y]
                _add_scaled(factor, across[k], weight)
            source = phases[taps[m, 0], taps[m, 1], taps[m, 2] + y, taps[m, 3] :]
            _add_product(weight, source, target)


@njit(cache=True, nogil=True)
def _add_scaled(factor: float, values: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    for i in range(out.size):
        out[i] += factor * values[i]


@njit(cache=True, nogil=True)
def _add_product(
    weight: NDArray[np.float64], source: NDArray[np.float32], out: NDArray[np.float64]
) -> None:
    for i in range(out.size):
        out[i] += weight[i] * source[i]


@njit(cache=True, nogil=True)
def convolve_cubic(
    phases: NDArray[np.float32],
    taps: NDArray[np.int64],
    coefficients: NDArray[np.float64],
    down: NDArray[np.float64],
    across: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    """Sum samples around each pixel as `convolve_varying`, up to order 3, in single precision.

    Parameters
    ----------
    phases, taps : array
        As of `convolve_varying`; the number of taps is a multiple of 2 (fill up with zeros).
    coefficients : (m, 4, 4) float64
        Of each tap's weight, on the products of polynomials in y and in x.
    down : (4, ny) float64
        Values of the polynomials in y.
    across : (4, nx) float32
        Values of the polynomials in x.
    out : (ny, nx) float32
        Written.

    Notes
    -----
    Weights are made where they are used: four numbers a pixel, read once for two taps, cost less
    than a row of weights written and read again.
    """
    factors = np.empty((2, 4), np.float32)
    for y in range(out.shape[0]):
        target = out[y]
        target[:] = 0
        for m in range(0, taps.shape[0], 2):
            for n in range(2):
                for k in range(4):
                    factor = 0.0
                    for j in range(4):
                        factor += coefficients[m + n, j, k] * down[j, y]
                    factors[n, k] = factor
            first, second = taps[m], taps[m + 1]
            _add_pair(
                factors,
                across,
                phases[first[0], first[1], first[2] + y, first[3] :],
                phases[second[0], second[1], second[2] + y, second[3] :],
                target,
            )


@njit(cache=True, nogil=True)
def _add_pair(
    factors: NDArray[np.float32],
    across: NDArray[np.float32],
    first: NDArray[np.float32],
    second: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    a, b, c, d = across[0], across[1], across[2], across[3]
    p, q, r, s = factors[0, 0], factors[0, 1], factors[0, 2], factors[0, 3]
    t, u, v, w = factors[1, 0], factors[1, 1], factors[1, 2], factors[1, 3]
    for i in range(out.size):
        one = p * a[i] + q * b[i] + r * c[i] + s * d[i]
        other = t * a[i] + u * b[i] + v * c[i] + w * d[i]
        out[i] += one * first[i] + other * second[i]
