"""Where stars stand in each frame of a series: affine displacements, and the WCS that says so.

A star that the series' reference WCS puts at x stands at x + shift + matrix (x - centre), centre
being the WCS's reference pixel, so that each frame's WCS is exact with the reference's own terms.
"""

import math

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from numpy.typing import NDArray

from syndiff.constants import DAY_S
from syndiff.simulation.ffi import SCIENCE
from syndiff.simulation.sources import unit_vectors

__all__ = ["aberration_maps", "earth_barycentric", "moved_cards", "positions"]

F64 = NDArray[np.float64]

_LIGHT_KM_S = 299792.458
_OBLIQUITY_RAD = math.radians(23.4393)
_CAMERA_STEP_DEG = 24.0
_SAMPLE_BETA = 2e-5


def positions(places: F64, shift: F64, matrix: F64, centre: F64) -> F64:
    """Return where stars stand in a frame.

    Parameters
    ----------
    places : (n, 2) float64
        Where the reference WCS puts them: x, y (px).
    shift : (2,) float64
        Displacement at `centre`, px.
    matrix : (2, 2) float64
        Displacement per pixel from `centre`.
    centre : (2,) float64
        The reference pixel, 0-based.

    Returns
    -------
    (n, 2) float64
        Places in the frame.
    """
    return np.asarray(places + shift + (places - centre) @ matrix.T)


def earth_barycentric(btjd: F64) -> tuple[F64, F64]:
    """Return the Earth's place and velocity; the spacecraft's own orbit is left out.

    Parameters
    ----------
    btjd : (n,) float64
        TDB, days since JD 2457000.

    Returns
    -------
    light_days, beta : (n, 3) float64
        Place from the solar system's barycentre in light-days; velocity over that of light.
    """
    from astropy import units
    from astropy.coordinates import get_body_barycentric_posvel
    from astropy.time import Time

    times = Time(2457000.0, btjd, format="jd", scale="tdb")
    place, velocity = get_body_barycentric_posvel("earth", times, ephemeris="builtin")
    kilometres = place.xyz.to_value(units.km).T
    speed = velocity.xyz.to_value(units.km / units.s).T
    return kilometres / (_LIGHT_KM_S * DAY_S), speed / _LIGHT_KM_S


def aberration_maps(wcs: WCS, camera: int, centre: F64) -> F64:
    """Return how stars move over the CCD with the velocity.

    Parameters
    ----------
    wcs : astropy.wcs.WCS
        The reference.
    camera : int
        1 (at the ecliptic) to 4 (at its pole).
    centre : (2,) float64
        The reference pixel, 0-based.

    Returns
    -------
    (3, 2, 3) float64
        For each axis of the velocity (over that of light): x and y displacement at `centre`, per
        pixel along x, per pixel along y.

    Notes
    -----
    To first order a star at s is seen at s + b - s (s . b); the spacecraft holds the middle of its
    four cameras, so that only the difference from there is left. Affine over a CCD to 0.003 px.
    """
    x, y = (
        a.ravel()
        for a in np.meshgrid(
            np.linspace(SCIENCE.x0, SCIENCE.x1 - 1, 9), np.linspace(SCIENCE.y0, SCIENCE.y1 - 1, 9)
        )
    )
    seen = unit_vectors(*wcs.all_pix2world(x, y, 0))
    middle = unit_vectors(*wcs.all_pix2world(*(centre[:, None]), 0))[0]
    hold = _boresight(middle, camera)
    design = np.column_stack([np.ones_like(x), x - centre[0], y - centre[1]])
    maps = np.empty((3, 2, 3))
    for axis in range(3):
        beta = np.eye(3)[axis]
        turn = np.cross(hold, beta)
        moved = seen + _SAMPLE_BETA * (beta - seen * (seen @ beta)[:, None] - np.cross(turn, seen))
        ra = np.degrees(np.arctan2(moved[:, 1], moved[:, 0])) % 360
        dec = np.degrees(np.arcsin(moved[:, 2] / np.linalg.norm(moved, axis=1)))
        there = np.stack(wcs.all_world2pix(ra, dec, 0, tolerance=1e-9), -1)
        steps = (there - np.stack([x, y], -1)) / _SAMPLE_BETA
        maps[axis] = np.linalg.lstsq(design, steps, rcond=None)[0].T
    return maps


def _boresight(middle: F64, camera: int) -> F64:
    """Return the direction midway between the cameras, on the meridian of a CCD's middle."""
    c, s = math.cos(_OBLIQUITY_RAD), math.sin(_OBLIQUITY_RAD)
    ecliptic = np.array([[1, 0, 0], [0, c, s], [0, -s, c]])
    x, y, z = ecliptic @ middle
    away = math.radians((camera - 2.5) * _CAMERA_STEP_DEG)
    latitude = math.copysign(abs(math.asin(z)) - away, z)
    longitude = math.atan2(y, x)
    out = unit_vectors(np.degrees(longitude), np.degrees(latitude))
    return np.asarray(ecliptic.T @ out)


def moved_cards(cards: fits.Header, shift: F64, matrix: F64) -> fits.Header:
    """Return the WCS of a frame in which stars have moved.

    Parameters
    ----------
    cards : Header
        The reference's WCS, with a CD matrix and SIP terms or none; not modified.
    shift, matrix : float64
        As of `positions`, about the reference pixel.

    Returns
    -------
    Header
        The frame's WCS cards, exact to rounding.

    Notes
    -----
    With u the place from the moved reference pixel, the reference sees it at M u, M the inverse of
    1 + matrix. CD (M u + p(M u)) = CD M (u + q(u)), q(u) = M^-1 p(M u), of the same orders as p.
    """
    out = cards.copy()
    out["CRPIX1"] += float(shift[0])
    out["CRPIX2"] += float(shift[1])
    forward: F64 = np.eye(2) + matrix
    back = np.asarray(np.linalg.inv(forward), np.float64)
    cd = np.array([[out["CD1_1"], out["CD1_2"]], [out["CD2_1"], out["CD2_2"]]]) @ back
    for (i, j), value in np.ndenumerate(cd):
        out[f"CD{i + 1}_{j + 1}"] = float(value)
    for first, second in (("A", "B"), ("AP", "BP")):
        if f"{first}_ORDER" in out:
            _move_terms(out, first, second, back, forward)
    return out


def _move_terms(out: fits.Header, first: str, second: str, back: F64, forward: F64) -> None:
    """Replace a pair of polynomials p(u) by forward p(back u)."""
    order = max(out[f"{first}_ORDER"], out[f"{second}_ORDER"])
    terms = np.zeros((2, order + 1, order + 1))
    for axis, name in enumerate((first, second)):
        for p in range(order + 1):
            for q in range(order + 1 - p):
                value = out.get(f"{name}_{p}_{q}", 0.0)
                if value:
                    power = _power(back[0], p), _power(back[1], q)
                    # Coefficients of u^(d - k) v^k of the product, d = p + q.
                    product = value * np.convolve(*power)
                    for k, part in enumerate(product):
                        terms[axis, p + q - k, k] += part
    terms = np.einsum("ab,bpq->apq", forward, terms)
    out[f"{first}_ORDER"] = out[f"{second}_ORDER"] = order
    for axis, name in enumerate((first, second)):
        for (p, q), value in np.ndenumerate(terms[axis]):
            if value:
                out[f"{name}_{p}_{q}"] = float(value)


def _power(row: F64, exponent: int) -> F64:
    """Return the coefficients of (a u + b v) to a power, by rising powers of v."""
    out = np.ones(1)
    for _ in range(exponent):
        out = np.convolve(out, row)
    return out
