"""When light of a target reached the solar system's barycentre, and when it reached TESS."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from syndiff.errors import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["BTJD_ZERO", "Times", "parse_date", "target_times"]

from dataclasses import dataclass

BTJD_ZERO = 2457000.0
"""Julian date at which TESS's barycentric date (BTJD) begins."""

_LIGHT_AU_DAYS = 0.005775518331436995
# Light takes so many days for an astronomical unit.


@dataclass(frozen=True, eq=False)
class Times:
    """Middles of exposures.

    Parameters
    ----------
    btjd : (n,) float64
        At the barycentre for the target's own direction, days since JD 2457000, TDB.
    mjd : (n,) float64
        At the Earth, modified Julian date, UTC.
    """

    btjd: NDArray[np.float64]
    mjd: NDArray[np.float64]


def target_times(
    middle: NDArray[np.float64],
    *,
    is_barycentric: bool,
    centre: tuple[float, float],
    target: tuple[float, float],
) -> Times:
    """Return the times of exposures for a target.

    Parameters
    ----------
    middle : (n,) float64
        Middles of the exposures as frames tell them, days since JD 2457000; NaN where unknown.
    is_barycentric : bool
        Whether they hold at the barycentre, for light from `centre` (SPOC), or at TESS (TICA).
    centre : (float, float)
        RA and Dec of the CCD's centre, degrees.
    target : (float, float)
        RA and Dec of the target, degrees.

    Returns
    -------
    Times
        The times.

    Notes
    -----
    TESS is taken to be where the Earth is: it is up to 1.3 light seconds away from it, of which the
    angle between target and centre (0.2 at most) counts for SPOC's times, all of it for TICA's.
    """
    from astropy.coordinates import get_body_barycentric
    from astropy.time import Time

    known = np.isfinite(middle)
    btjd, mjd = np.full(middle.shape, np.nan), np.full(middle.shape, np.nan)
    if not known.any():
        return Times(btjd, mjd)
    told = Time(BTJD_ZERO, middle[known], format="jd", scale="tdb")
    earth = get_body_barycentric("earth", told).xyz.to_value("au")
    late = {
        name: _LIGHT_AU_DAYS * (_direction(place) @ earth)
        for name, place in (("centre", centre), ("target", target))
    }
    at_earth = middle[known] - (late["centre"] if is_barycentric else 0.0)
    btjd[known] = at_earth + late["target"]
    mjd[known] = Time(BTJD_ZERO, at_earth, format="jd", scale="tdb").utc.mjd
    return Times(btjd, mjd)


def _direction(place: tuple[float, float]) -> NDArray[np.float64]:
    ra, dec = np.deg2rad(place)
    return np.array([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)])


def parse_date(text: str) -> float:
    """Read a date as days since JD 2457000.

    Parameters
    ----------
    text : str
        A calendar date (``2020-01-10``, ``2020-01-10T12:00``, UTC), or a Julian date, a modified
        one, or one that counts from JD 2457000.

    Returns
    -------
    float
        Days since JD 2457000.

    Raises
    ------
    ConfigError
        If it is none of these.

    Examples
    --------
    >>> parse_date("58858.5"), parse_date("2458859.0"), parse_date("1859")
    (1859.0, 1859.0, 1859.0)
    """
    from astropy.time import Time

    try:
        number = float(text)
    except ValueError:
        try:
            return float(Time(text, scale="utc").tdb.jd - BTJD_ZERO)
        except ValueError:
            number = np.nan
    if 2_450_000 < number < 2_500_000:
        return number - BTJD_ZERO
    if 50_000 < number < 100_000:
        return number + 2_400_000.5 - BTJD_ZERO
    if 0 < number < 20_000:
        return number
    raise ConfigError(
        f"date {text!r} can't be read: give 2020-01-10, 2020-01-10T12:00, a JD, an MJD or a BTJD"
    )
