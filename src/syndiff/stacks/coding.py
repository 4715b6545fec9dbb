"""Light and variance coded as 16-bit integers."""

from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from syndiff.errors import RenderingError
from syndiff.kernels import coding

__all__ = [
    "NO_VARIANCE",
    "asinh_decode",
    "asinh_encode",
    "asinh_table",
    "variance_decode",
    "variance_encode",
]

_SOFTENING = 200.0
"""Softening length over sigma: ``2 * 100 sigma``, so that steps stay sigma/16 up to 100 sigma."""

_STEPS = 3200.0
"""Steps per unit of asinh: a step at 0 is ``200 sigma / 3200 = sigma / 16``.

sigma/8 would round the skirts of stars to nothing and lose 3e-4 of a band's total.
"""

NO_VARIANCE = -32768
"""Code of cells without variance."""

_PER_OCTAVE = 64.0
"""Steps of the variance's code per factor of two: 1.1 % each."""


def asinh_encode(x: ArrayLike, sigma: float) -> NDArray[np.int16]:
    """Return light as 16-bit asinh codes.

    Parameters
    ----------
    x : array_like of float
        Light, any shape; finite.
    sigma : float
        Noise of one cell, in the units of `x`; above 0.

    Returns
    -------
    NDArray[np.int16]
        ``round(3200 asinh(x / (200 sigma)))``, the shape of `x`. What rounding takes from a value
        is added to the next one of its row, so that sums are right; a zero stays zero, and ends
        it.

    Raises
    ------
    RenderingError
        If sigma is not above 0, or a value is not finite or beyond 2.8e6 sigma.

    Examples
    --------
    >>> asinh_encode([0.0, 1.0, -100.0], 1.0)
    array([    0,    16, -1540], dtype=int16)
    """
    if not (np.isfinite(sigma) and sigma > 0):
        raise RenderingError(f"light can't be coded with sigma {sigma}: it must be above 0")
    values = np.ascontiguousarray(x)
    rows = values.reshape(-1, values.shape[-1]) if values.size else np.empty((0, 1))
    codes = np.empty(values.shape, np.int16)
    scale, out = _SOFTENING * sigma, codes.reshape(rows.shape)
    if not coding.encode_asinh(rows, scale, _STEPS, _sinh_table(), out):
        raise RenderingError(
            f"light of {np.max(np.abs(values)):.6g} can't be coded with sigma {sigma:.6g}: values "
            "must be finite and within 2.8e6 sigma; check the scaling of the image and of its "
            "variance"
        )
    return codes


def asinh_decode(
    q: NDArray[np.int16], sigma: float, *, out: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Return the light that 16-bit asinh codes represent.

    Parameters
    ----------
    q : NDArray[np.int16]
        Codes, any shape.
    sigma : float
        The sigma they were made with.
    out : NDArray[np.float32], optional
        Receives the light; C-contiguous, the shape of `q`.

    Returns
    -------
    NDArray[np.float32]
        ``200 sigma sinh(q / 3200)``; `out` where given.

    Examples
    --------
    >>> asinh_decode(np.array([16, -1540], np.int16), 1.0).round(2)
    array([   1.  , -100.01], dtype=float32)
    """
    return _decode(q, _SOFTENING * sigma * _sinh_table(), out)


def asinh_table(sigma: float) -> NDArray[np.float32]:
    """Return the light of every 16-bit asinh code, for kernels that decode.

    Parameters
    ----------
    sigma : float
        The sigma the codes were made with.

    Returns
    -------
    (65536,) float32
        What `asinh_decode` returns, indexed by the code's bit pattern.
    """
    return (_SOFTENING * sigma * _sinh_table()).astype(np.float32)


def variance_encode(v: NDArray[np.float64], sigma: float) -> NDArray[np.int16]:
    """Return variances as 16-bit logarithmic codes.

    Parameters
    ----------
    v : NDArray[np.float64]
        Variances, any shape; 0 or less means none.
    sigma : float
        Square root of a typical variance; above 0.

    Returns
    -------
    NDArray[np.int16]
        ``round(64 log2(v / sigma^2))``, or `NO_VARIANCE`.

    Examples
    --------
    >>> variance_encode(np.array([0.0, 4.0, 8.0]), 2.0)
    array([-32768,      0,     64], dtype=int16)
    """
    codes = np.full(v.shape, NO_VARIANCE, np.int16)
    some = v > 0
    codes[some] = np.rint(_PER_OCTAVE * np.log2(v[some] / sigma**2)).astype(np.int16)
    return codes


def variance_decode(q: NDArray[np.int16], sigma: float) -> NDArray[np.float32]:
    """Return the variances that 16-bit logarithmic codes represent.

    Parameters
    ----------
    q : NDArray[np.int16]
        Codes, any shape.
    sigma : float
        The sigma they were made with.

    Returns
    -------
    NDArray[np.float32]
        ``sigma^2 2^(q / 64)``; 0 where there is none.

    Examples
    --------
    >>> variance_decode(np.array([-32768, 0, 64], np.int16), 2.0)
    array([0., 4., 8.], dtype=float32)
    """
    return _decode(q, sigma**2 * _exp2_table())


def _decode(
    q: NDArray[np.int16], table: NDArray[np.float64], out: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Return the table's values of codes: forty times faster than their formulas."""
    patterns = np.ascontiguousarray(q, dtype=np.int16).view(np.uint16)
    values = np.empty(patterns.shape, np.float32) if out is None else out
    with np.errstate(over="ignore"):  # of codes that no variance has
        single = table.astype(np.float32)
    coding.look_up(single, patterns.ravel(), values.ravel())
    return values


@cache
def _sinh_table() -> NDArray[np.float64]:
    """Return ``sinh(q / 3200)`` of each code, indexed by its bit pattern."""
    return np.sinh(_codes() / _STEPS)


@cache
def _exp2_table() -> NDArray[np.float64]:
    """Return ``2^(q / 64)`` of each code, indexed by its bit pattern; 0 of `NO_VARIANCE`."""
    return np.where(_codes() == NO_VARIANCE, 0, np.exp2(_codes() / _PER_OCTAVE))


def _codes() -> NDArray[np.int16]:
    """Return every code in the order of its bit pattern."""
    return np.arange(65536, dtype=np.uint16).view(np.int16)
