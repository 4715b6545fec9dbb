"""The WCS of an FFI corrected by a measured shift of its stars."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from syndiff.ffi.frame import Frame

if TYPE_CHECKING:
    from astropy.io.fits import Header
    from numpy.typing import NDArray

__all__ = ["moved_frame"]

_TERM = re.compile(r"([AB])_(\d)_(\d)")


def moved_frame(frame: Frame, shift: NDArray[np.float64], slope: NDArray[np.float64]) -> Frame:
    """Return the frame in which every source is displaced by ``shift + slope @ x``.

    Parameters
    ----------
    frame : Frame
        The FFI's pixel grid as its header has it.
    shift : (2,) float64
        Displacement in x and y at pixel (0, 0), FFI pixels.
    slope : (2, 2) float64
        Its growth per pixel, rows dx and dy, columns along x and y.

    Returns
    -------
    Frame
        With CRPIX, CD (or PC) and the forward SIP terms changed. The header's inverse terms, an
        approximation that syndiff never uses, stay.

    Notes
    -----
    The source at pixel x of the new frame is that at ``A x - shift`` of the old one, A = 1 - slope.
    With p the old reference pixel, p' = A^-1 (p + shift) is the new one, CD' = CD A, and a SIP
    polynomial f becomes ``A^-1 f(A v)``, exactly.
    """
    header = frame.header()
    turn = np.eye(2) - slope
    pixel = np.array([header["CRPIX1"], header["CRPIX2"]]) - 1
    header["CRPIX1"], header["CRPIX2"] = (np.linalg.solve(turn, pixel + shift) + 1).tolist()
    prefix = "CD" if "CD1_1" in header else "PC"
    keys = [f"{prefix}{i}_{j}" for i in "12" for j in "12"]
    matrix = np.reshape([header.get(k, float(k[-3] == k[-1])) for k in keys], (2, 2)) @ turn
    header.update(zip(keys, matrix.ravel().tolist(), strict=True))
    if "A_ORDER" in header:
        _move_sip(header, turn)
    return Frame.from_header(header, frame.detector, frame.shape, frame.science)


def _move_sip(header: Header, turn: NDArray[np.float64]) -> None:
    """Replace the forward polynomials f by ``turn^-1 f(turn v)``."""
    order = max(header["A_ORDER"], header["B_ORDER"])
    terms = np.zeros((2, order + 1, order + 1))
    for key in list(header):
        if match := _TERM.fullmatch(key):
            terms["AB".index(match[1]), int(match[2]), int(match[3])] = header[key]
    moved = np.linalg.solve(turn, np.stack([_turned(f, turn) for f in terms]).reshape(2, -1))
    moved = moved.reshape(terms.shape)
    header["A_ORDER"] = header["B_ORDER"] = order
    for name, values in zip("AB", moved, strict=True):
        for p, q in np.argwhere(values):
            header[f"{name}_{p}_{q}"] = float(values[p, q])


def _turned(terms: NDArray[np.float64], turn: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the coefficients of f(turn v) from those of f."""
    (a, b), (c, d) = turn
    out = np.zeros_like(terms)
    for p, q in np.argwhere(terms):
        # (a u + b w)^p (c u + d w)^q by powers of u, those of w being p + q less
        power = np.poly1d([a, b]) ** int(p) * np.poly1d([c, d]) ** int(q)
        for n, value in enumerate(power.coeffs[::-1]):
            out[n, p + q - n] += terms[p, q] * value
    return out
