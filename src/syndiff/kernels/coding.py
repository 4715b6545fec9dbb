"""Floats told by 16-bit whole numbers: asinh for light."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["encode_asinh"]


@njit(cache=True, nogil=True)
def encode_asinh(
    x: NDArray[np.float64], scale: float, steps: float, out: NDArray[np.int16]
) -> float:
    """Set `out` to ``round(steps * asinh(x / scale))``; return the largest size met.

    Parameters
    ----------
    x : (n,) float
        Values; finite.
    scale : float
        Softening, in units of `x`.
    steps : float
        Steps per unit of asinh.
    out : (n,) int16
        Set; meaningless where the size is above 32767.

    Returns
    -------
    float
        Largest ``abs(steps * asinh(x / scale))``, rounded; what is above 32767 did not fit.
    """
    largest = 0.0
    for i in range(x.size):
        y = np.float64(x[i])
        if y == 0:
            out[i] = 0
            continue
        q = np.rint(steps * np.arcsinh(y / scale))
        largest = max(largest, abs(q))
        out[i] = np.int16(min(max(q, -32767.0), 32767.0))
    return largest
