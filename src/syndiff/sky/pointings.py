"""Where TESS pointed: the sectors that saw a position, and the pixels that it fell on."""

from __future__ import annotations

import csv
import datetime as dt
import functools
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any

import numpy as np

from syndiff.layout import Detector
from syndiff.window import Window

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["POINTING_ERROR_PX", "Visit", "known_sectors", "visits_to"]

POINTING_ERROR_PX = 1.0
"""How far off the pixels are at worst; on average 0.1.

Against the headers of three FFIs (sector 1 camera 1 CCD 4, 2 1 2, 20 3 3), 81 places each: median
0.11 to 0.13, worst 0.99, 0.51, 0.47. Of sectors to come the pointing may change by degrees.
"""

NEAR_PX = 100.0
"""Visits that miss the science pixels by less are told too: gaps between CCDs are 104 to 117 px."""

_SCIENCE = Window(44, 0, 2092, 2048)
_COLLATERAL_COLUMNS = 44
_LAST_NUMBERED = 1000
# Sectors from 1751 on are short pointings between the others.


@dataclass(frozen=True)
class Visit:
    """A position on one CCD in one sector.

    Parameters
    ----------
    detector : Detector
        Sector, camera and CCD.
    column, row : float
        FFI array pixel, 0-based, integer = centre, collateral columns included.
    start, end : datetime.date
        Between which the sector was, or will be, observed (UT).
    """

    detector: Detector
    column: float
    row: float
    start: dt.date
    end: dt.date

    @property
    def edge_px(self) -> float:
        """Distance to the nearest edge of the science pixels; negative outside of them."""
        w = _SCIENCE
        across = min(self.column - w.x0, w.x1 - 1 - self.column)
        return min(across, self.row - w.y0, w.y1 - 1 - self.row) + 0.5

    @property
    def is_planned(self) -> bool:
        """Whether the sector is not over: its pointing may still change."""
        return self.end >= dt.datetime.now(dt.UTC).date()


def known_sectors() -> tuple[int, dt.date]:
    """Return the last sector whose pointing is known, and when it ends.

    Returns
    -------
    (int, datetime.date)
        Of those numbered one after the other.
    """
    import tess_stars2px

    points = tess_stars2px.TESS_Spacecraft_Pointing_Data
    regular = points.sectors < _LAST_NUMBERED
    last = int(points.sectors[regular].max())
    return last, _dates(last, float(points.midtimes[points.sectors == last][0]))[1]


def visits_to(ra_deg: float, dec_deg: float) -> tuple[list[Visit], list[Visit]]:
    """Return where TESS sees a position.

    Parameters
    ----------
    ra_deg, dec_deg : float
        ICRS.

    Returns
    -------
    on, beside : list of Visit
        Those on science pixels, and those that miss them by less than `NEAR_PX`; by sector.

    Notes
    -----
    The focal plane is that of the package tess-point, the light aberrated by the Earth's motion in
    the middle of the sector: without that, pixels err by 1 (up to 30 km/s of 3e5, 20 arcsec).
    """
    points = _pointings()
    ra, dec = _aberrated(ra_deg, dec_deg, points.midtimes)
    visits = []
    for k, sector in enumerate(points.sectors.tolist()):
        dates = _dates(sector, float(points.midtimes[k]))
        cameras, ccds, _, _, x, y = points.fpgObjs[k].radec2pix(ra[k : k + 1], dec[k : k + 1])
        columns = (x + _COLLATERAL_COLUMNS).tolist()
        for camera, ccd, column, row in zip(cameras, ccds, columns, y.tolist(), strict=True):
            detector = Detector(sector, int(camera), int(ccd))
            visits.append(Visit(detector, column, row, *dates))
    visits.sort(key=lambda visit: (visit.start, visit.detector))
    on = [visit for visit in visits if visit.edge_px > 0]
    return on, [visit for visit in visits if -NEAR_PX < visit.edge_px <= 0]


@functools.cache
def _pointings() -> Any:  # noqa: ANN401 - tess-point has no types
    """Return tess-point's table of pointings, and the cameras' geometry at each."""
    import tess_stars2px

    return tess_stars2px.TESS_Spacecraft_Pointing_Data()


def _aberrated(
    ra_deg: float, dec_deg: float, times_jd: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the directions that light from a position comes from, as seen from the Earth."""
    from astropy.coordinates import GCRS, SkyCoord
    from astropy.time import Time

    # TDB: leap seconds of years to come are not known, and don't matter.
    frame = GCRS(obstime=Time(times_jd, format="jd", scale="tdb"))
    n = len(times_jd)
    seen = SkyCoord(np.full(n, ra_deg), np.full(n, dec_deg), unit="deg").transform_to(frame)
    return np.asarray(seen.ra.deg), np.asarray(seen.dec.deg)


def _dates(sector: int, middle_jd: float) -> tuple[dt.date, dt.date]:
    """Return between which dates a sector was observed; of one unlisted, two weeks either way."""
    if (listed := _listed_dates().get(sector)) is not None:
        return listed
    # JD 1721424.5 is day 1 of Python's count, 0001-01-01, less one.
    middle = dt.date.fromordinal(int(middle_jd - 1721424.5))
    fortnight = dt.timedelta(days=14)
    return middle - fortnight, middle + fortnight


@functools.cache
def _listed_dates() -> dict[int, tuple[dt.date, dt.date]]:
    """Return the dates of sectors."""
    text = resources.files("syndiff.data").joinpath("tess_sectors.csv").read_text("ascii")
    rows = csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))
    read = dt.date.fromisoformat
    return {int(row["sector"]): (read(row["start"]), read(row["end"])) for row in rows}
