"""Sums over pixels that a kernel's fit needs: samples times weights that are polynomials."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from syndiff.kernels.compile import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["gather_samples", "project_residuals", "weigh_samples"]

_TOGETHER = 64


@njit(cache=True, nogil=True)
def gather_samples(
    phases: NDArray[np.float32],
    taps: NDArray[np.int64],
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    out: NDArray[np.float32],
) -> None:
    """Collect the samples that a kernel reaches from some pixels; a last one of each is 1.

    Parameters
    ----------
    phases : (f, f, rows, columns) float32
        Samples, those of one phase side by side.
    taps : (m, 4) int64
        Phase in y and x of each tap, and its row and column for pixel (0, 0).
    rows, columns : (n,) int64
        Pixels.
    out : (n, m + 1) float32
        Written.
    """
    m = taps.shape[0]
    for n in range(rows.size):
        for k in range(m):
            out[n, k] = phases[
                taps[k, 0], taps[k, 1], taps[k, 2] + rows[n], taps[k, 3] + columns[n]
            ]
        out[n, m] = 1


@njit(cache=True, nogil=True, fastmath=True)
def weigh_samples(
    samples: NDArray[np.float32],
    products: NDArray[np.float32],
    weights: NDArray[np.float32],
    out: NDArray[np.float64],
) -> None:
    """Sum each pixel's samples with weights that are polynomials.

    Parameters
    ----------
    samples : (n, m) float32
        The samples; finite.
    products : (n, k) float32
        Values of the polynomials at each pixel; an even number (fill up with zeros).
    weights : (k, m) float32
        Of each polynomial and sample.
    out : (n,) float64
        Written.
    """
    weight = np.empty(samples.shape[1], np.float32)
    for n in range(samples.shape[0]):
        weight[:] = 0
        # Two polynomials at a time: half as often is a weight read and written.
        for k in range(0, products.shape[1], 2):
            p, q = products[n, k], products[n, k + 1]
            one, other = weights[k], weights[k + 1]
            for i in range(weight.size):
                weight[i] += p * one[i] + q * other[i]
        total, row = np.float32(0), samples[n]
        for i in range(weight.size):
            total += weight[i] * row[i]
        out[n] = total


@njit(cache=True, nogil=True, fastmath=True)
def project_residuals(
    samples: NDArray[np.float32],
    products: NDArray[np.float32],
    residuals: NDArray[np.float64],
    out: NDArray[np.float64],
) -> None:
    """Sum residuals times polynomials times samples: half the gradient of the sum of squares.

    Parameters
    ----------
    samples, products : array
        As of `weigh_samples`.
    residuals : (n,) float64
        What is left of each pixel, over its variance; 0 for one that doesn't count.
    out : (k, m) float64
        Written.

    Notes
    -----
    In single precision over 64 pixels at a time, whose sums are added up in double precision.
    """
    out[:] = 0
    part = np.empty(out.shape, np.float32)
    for first in range(0, samples.shape[0], _TOGETHER):
        part[:] = 0
        for n in range(first, min(first + _TOGETHER, samples.shape[0])):
            residual, row = np.float32(residuals[n]), samples[n]
            if residual == 0:
                continue
            for k in range(0, products.shape[1], 2):
                p, q = products[n, k] * residual, products[n, k + 1] * residual
                one, other = part[k], part[k + 1]
                for i in range(row.size):
                    one[i] += p * row[i]
                    other[i] += q * row[i]
        out += part
