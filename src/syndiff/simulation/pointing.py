"""FFIs of other pointings: the WCS after a change of roll, pointing, velocity or focus."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from syndiff.simulation.ffi import FFI_SHAPE, FfiConfig, wcs_of
from syndiff.simulation.sources import unit_vectors

__all__ = ["repointed"]

F64 = NDArray[np.float64]

_LIGHT_KM_S = 299792.458
_FIT_STEP_PX = 64
_CD = ("CD1_1", "CD1_2", "CD2_1", "CD2_2")


def repointed(
    config: FfiConfig,
    *,
    cadences: int = 1,
    roll_arcsec: float = 0.0,
    shift_arcsec: tuple[float, float] = (0.0, 0.0),
    scale: float = 1.0,
    velocity_km_s: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> FfiConfig:
    """Return a later FFI of the same CCD with a WCS of its own.

    Parameters
    ----------
    config : FfiConfig
        The first one.
    cadences : int
        How many cadences later.
    roll_arcsec : float
        Roll of the camera about the direction of the WCS's reference pixel.
    shift_arcsec : (float, float)
        Change of pointing to the east and to the north.
    scale : float
        Factor on the angle that a pixel sees.
    velocity_km_s : (float, float, float)
        Change of the telescope's velocity, equatorial: aberration moves all stars towards it.

    Returns
    -------
    FfiConfig
        The later one; its header's WCS includes all changes.

    Notes
    -----
    The camera rotates as a rigid body. To first order in the velocity, a star at s is seen at
    s + v/c - s (s . v/c). CD matrix and SIP terms are fitted to the directions that pixels then
    see; what the fit leaves is no error, as light is drawn by the fitted WCS too.
    """
    header = fits.Header.fromstring(config.wcs_cards, sep="\n")
    ny, nx = FFI_SHAPE
    x, y = np.meshgrid(np.arange(0.0, nx, _FIT_STEP_PX), np.arange(0.0, ny, _FIT_STEP_PX))
    x, y = np.append(header["CRPIX1"] - 1, x), np.append(header["CRPIX2"] - 1, y)
    seen = unit_vectors(*wcs_of(config.wcs_cards).all_pix2world(x, y, 0))
    seen = seen @ _turn(seen[0], roll_arcsec, shift_arcsec).T
    beta = np.array(velocity_km_s) / _LIGHT_KM_S
    true = seen - beta + seen * (seen @ beta)[:, None]
    true /= np.linalg.norm(true, axis=1)[:, None]
    _fit(header, x, y, true, scale)
    later = config.start_time + timedelta(seconds=cadences * config.cadence_s)
    cards = "\n".join(str(card).rstrip() for card in header.cards) + "\n"
    return replace(config, start=later.isoformat(), wcs_cards=cards)


def _turn(towards: F64, roll_arcsec: float, shift_arcsec: tuple[float, float]) -> F64:
    """Return the rotation matrix of the camera."""
    from scipy.spatial.transform import Rotation

    east, north = _east_north(towards)
    # A rotation about north moves the boresight to the east, one about east to the south.
    vector = roll_arcsec * towards + shift_arcsec[0] * north - shift_arcsec[1] * east
    return np.asarray(Rotation.from_rotvec(np.radians(vector / 3600)).as_matrix())


def _east_north(towards: F64) -> tuple[F64, F64]:
    east = np.cross([0.0, 0.0, 1.0], towards)
    east /= np.linalg.norm(east)
    return east, np.cross(towards, east)


def _fit(header: fits.Header, x: F64, y: F64, directions: F64, scale: float) -> None:
    """Write the WCS that takes pixels to directions, the first of them the reference pixel."""
    centre = directions[0]
    east, north = _east_north(centre)
    depth = directions @ centre
    plane = np.degrees(np.stack([directions @ east / depth, directions @ north / depth]))
    header["CRVAL1"] = float(np.degrees(np.arctan2(centre[1], centre[0])) % 360)
    header["CRVAL2"] = float(np.degrees(np.arcsin(centre[2])))
    u, v = x - x[0], y - y[0]
    order = max(header["A_ORDER"], header["B_ORDER"])
    powers = [(p, n - p) for n in range(1, order + 1) for p in range(n, -1, -1)]
    half = max(FFI_SHAPE) / 2
    columns = np.stack([(u / half) ** p * (v / half) ** q for p, q in powers], -1)
    terms = np.linalg.lstsq(columns, scale * plane.T, rcond=None)[0].T
    terms /= [half ** (p + q) for p, q in powers]
    matrix = terms[:, :2]
    header.update(zip(_CD, matrix.ravel().tolist(), strict=True))
    a, b = np.linalg.solve(matrix, terms)
    header["A_ORDER"] = header["B_ORDER"] = order
    for (p, q), first, second in zip(powers[2:], a[2:], b[2:], strict=True):
        header[f"A_{p}_{q}"], header[f"B_{p}_{q}"] = float(first), float(second)
