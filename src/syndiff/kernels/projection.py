"""Gnomonic pixel grids onto one another: a homography, then SIP forward or inverse.

Notes
-----
A TAN pixel grid is a plane through the sphere's tangent point, so two of them are related by a
3x3 matrix on homogeneous coordinates (Calabretta & Greisen 2002, A&A 395, 1077, section 5.1.3).
SIP adds a polynomial to the pixel offsets of one of them, U = u + A(u, v), V = v + B(u, v)
(Shupe et al. 2005, ASP Conf. 347, 491); its inverse here is Newton's, never the header's fit.
`sip` packs it all: ``sip[0, p, q]`` and ``sip[1, p, q]`` multiply u**p v**q in A and B.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from syndiff.kernels.compile import njit

__all__ = ["project_pixels", "project_vectors", "unproject_pixels"]

FloatArray = NDArray[np.float64]

MAX_STEPS = 20
STEP_PX = 1e-10
"""Newton converges quadratically: the error after a step this small is rounding alone."""


@njit(cache=True, nogil=True)
def _polynomial(coefficients: FloatArray, u: float, v: float) -> Any:
    """Return the sum of c[p, q] u**p v**q for p + q <= order and its two derivatives (Horner)."""
    n = coefficients.shape[0]
    value = slope_u = slope_v = 0.0
    for p in range(n - 1, -1, -1):
        # Horner, and its derivative by the product's rule: of f = f v + c, f' = f' v + f, taken
        # before f changes.
        row = row_v = 0.0
        for q in range(n - 1 - p, -1, -1):
            row_v = row_v * v + row
            row = row * v + coefficients[p, q]
        slope_u = slope_u * u + value
        value = value * u + row
        slope_v = slope_v * u + row_v
    return value, slope_u, slope_v


@njit(cache=True, nogil=True)
def _undistort(sip: FloatArray, U: float, V: float) -> Any:
    """Return (u, v) with u + A(u, v) = U, v + B(u, v) = V; NaN where Newton finds none."""
    u, v = U, V
    for _ in range(MAX_STEPS):
        a, a_u, a_v = _polynomial(sip[0], u, v)
        b, b_u, b_v = _polynomial(sip[1], u, v)
        left, right = u + a - U, v + b - V
        determinant = (1.0 + a_u) * (1.0 + b_v) - a_v * b_u
        # Where the polynomial folds over, a root belongs to another sheet of the plane.
        if not determinant > 0.0:
            break
        du = (left * (1.0 + b_v) - right * a_v) / determinant
        dv = (right * (1.0 + a_u) - left * b_u) / determinant
        u -= du
        v -= dv
        if abs(du) + abs(dv) < STEP_PX:
            return u, v
    return np.nan, np.nan


@njit(cache=True, nogil=True)
def _project(h: FloatArray, sip: FloatArray, a: float, b: float, c: float) -> Any:
    """Take one homogeneous vector to pixel offsets; NaN behind the tangent plane."""
    w = h[2, 0] * a + h[2, 1] * b + h[2, 2] * c
    if not w > 0.0:
        return np.nan, np.nan
    U = (h[0, 0] * a + h[0, 1] * b + h[0, 2] * c) / w
    V = (h[1, 0] * a + h[1, 1] * b + h[1, 2] * c) / w
    return _undistort(sip, U, V)


@njit(cache=True, nogil=True)
def project_pixels(
    h: FloatArray, sip: FloatArray, origin: FloatArray, pixels: FloatArray, out: FloatArray
) -> None:
    """Take pixels of a plain TAN grid to pixels of a TAN-SIP grid.

    Parameters
    ----------
    h : (3, 3) float64
        From (x, y, 1) to the other grid's offsets (U, V) times w, and w.
    sip : (2, n, n) float64
        Forward SIP coefficients.
    origin : (2,) float64
        0-based pixel where the offsets are zero.
    pixels : (2, n) float64
        x and y, 0-based.
    out : (2, n) float64
        Written: pixels of the other grid, 0-based; NaN where there are none.
    """
    for k in range(pixels.shape[1]):
        u, v = _project(h, sip, pixels[0, k], pixels[1, k], 1.0)
        out[0, k] = u + origin[0]
        out[1, k] = v + origin[1]


@njit(cache=True, nogil=True)
def project_vectors(
    h: FloatArray, sip: FloatArray, origin: FloatArray, vectors: FloatArray, out: FloatArray
) -> None:
    """Take directions to pixels of a TAN-SIP grid.

    Parameters
    ----------
    h : (3, 3) float64
        From a direction to offsets (U, V) times w, and w.
    sip : (2, n, n) float64
        Forward SIP coefficients.
    origin : (2,) float64
        0-based pixel where the offsets are zero.
    vectors : (3, n) float64
        Directions.
    out : (2, n) float64
        Written: pixels, 0-based; NaN where there are none.
    """
    for k in range(vectors.shape[1]):
        u, v = _project(h, sip, vectors[0, k], vectors[1, k], vectors[2, k])
        out[0, k] = u + origin[0]
        out[1, k] = v + origin[1]


@njit(cache=True, nogil=True)
def unproject_pixels(
    h: FloatArray, sip: FloatArray, origin: FloatArray, pixels: FloatArray, out: FloatArray
) -> None:
    """Take pixels of a TAN-SIP grid to pixels of a plain TAN grid.

    Parameters
    ----------
    h : (3, 3) float64
        From offsets (U, V, 1) to the other grid's pixel times w, and w.
    sip : (2, n, n) float64
        Forward SIP coefficients.
    origin : (2,) float64
        0-based pixel where the offsets are zero.
    pixels : (2, n) float64
        x and y in the TAN-SIP grid, 0-based.
    out : (2, n) float64
        Written: pixels of the plain grid, 0-based; NaN behind its tangent plane.
    """
    for k in range(pixels.shape[1]):
        u = pixels[0, k] - origin[0]
        v = pixels[1, k] - origin[1]
        U = u + _polynomial(sip[0], u, v)[0]
        V = v + _polynomial(sip[1], u, v)[0]
        w = h[2, 0] * U + h[2, 1] * V + h[2, 2]
        if w > 0.0:
            out[0, k] = (h[0, 0] * U + h[0, 1] * V + h[0, 2]) / w
            out[1, k] = (h[1, 0] * U + h[1, 1] * V + h[1, 2]) / w
        else:
            out[:, k] = np.nan
