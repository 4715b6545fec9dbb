"""Where and when TESS sees a target, and whether PS1 covers it."""

from __future__ import annotations

import datetime as dt
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from syndiff.config import DEFAULT_SESAME
from syndiff.positions import read_target
from syndiff.sky.names import NameService, ResolvedName, resolve_name
from syndiff.sky.pointings import POINTING_ERROR_PX, Visit, known_sectors, visits_to
from syndiff.sky.tessellation import Tessellation

if TYPE_CHECKING:
    from astropy.coordinates import SkyCoord
    from astropy.table import Table

__all__ = ["Visibility", "where"]

PS1_SOUTH_DEG = -30.0
"""South of it PS1 took no stacks, though the tessellation goes on to -40."""

_FIELD_PX = 64
_TESS_PIXEL_DEG = 21.0 / 3600
_FIELD_DEG = _FIELD_PX / 2 * _TESS_PIXEL_DEG
_FAST_MAS_PER_YEAR = 500.0
# From where on an object moves by half a TESS pixel between J2000 and 2020.


def where(
    target: SkyCoord | str | tuple[float, float], *, sesame_url: str = DEFAULT_SESAME
) -> Visibility:
    """Return where and when TESS sees a target, and whether PS1 covers it.

    Parameters
    ----------
    target : str, SkyCoord or pair of float
        A position: text such as ``"14:20:00 +76:30:00"`` or ``"215.0, 76.5"``, coordinates, or two
        numbers in degrees. Or an object's name, which CDS Sesame is asked for; its answer is kept
        in the user's cache.
    sesame_url : str
        Address of the name service.

    Returns
    -------
    Visibility
        Sectors, cameras, CCDs, pixels and dates; its `table` has them as an astropy table.

    Raises
    ------
    ConfigError
        If the target is no position, and nobody knows the name.
    ArchiveUnavailableError
        If Sesame can't be asked.

    Examples
    --------
    >>> import syndiff
    >>> found = syndiff.where("14:20:00 +76:30:00")
    >>> [visit.detector.sector for visit in found.visits][:4]
    [14, 14, 15, 20]
    >>> found.ps1_skycells
    ('skycell.2611.019',)
    """
    read = read_target(target)
    name = None
    if isinstance(read, str):
        name = resolve_name(read, NameService(sesame_url))
        read = name.ra_deg, name.dec_deg
    on, beside = visits_to(*read)
    sector, until = known_sectors()
    return Visibility(
        ra_deg=read[0],
        dec_deg=read[1],
        name=name,
        visits=tuple(on),
        beside=tuple(beside),
        ps1_skycells=_skycells(*read, radius_deg=0.0),
        field_skycells=_skycells(*read, radius_deg=_FIELD_DEG),
        last_sector=sector,
        last_date=until,
    )


def _skycells(ra_deg: float, dec_deg: float, *, radius_deg: float) -> tuple[str, ...]:
    """Return the skycells with PS1's light that a square around a position touches."""
    if dec_deg + radius_deg <= PS1_SOUTH_DEG:
        return ()
    half = max(radius_deg, 1e-7)
    ra, dec = np.deg2rad(ra_deg), np.deg2rad(dec_deg)
    north = np.array([-np.sin(dec) * np.cos(ra), -np.sin(dec) * np.sin(ra), np.cos(dec)])
    east = np.array([-np.sin(ra), np.cos(ra), 0.0])
    centre = np.array([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)])
    step = np.tan(np.deg2rad(half))
    corners = [
        centre + step * (x * east + y * north) for x, y in ((-1, -1), (1, -1), (1, 1), (-1, 1))
    ]
    found = Tessellation.rings_v3().covering(np.array(corners))
    return tuple(skycell.name for skycell in found)


@dataclass(frozen=True, repr=False)
class Visibility:
    """Where and when TESS sees a target; see `syndiff.where`.

    Parameters
    ----------
    ra_deg, dec_deg : float
        ICRS.
    name : ResolvedName, optional
        What was found of its name; None for a position.
    visits : tuple of Visit
        On science pixels, in the order of time.
    beside : tuple of Visit
        Those that miss them by less than 100 pixels, in gaps or beyond an edge.
    ps1_skycells : tuple of str
        PS1's skycells that hold it; none where PS1 has no stacks.
    field_skycells : tuple of str
        Those that a field of 64 x 64 TESS pixels around it touches.
    last_sector : int
        Later ones are not known.
    last_date : datetime.date
        When that one ends.

    Examples
    --------
    >>> import syndiff
    >>> found = syndiff.where("14:20:00 +76:30:00")
    >>> first = found.visits[0]
    >>> first.detector
    Detector(sector=14, camera=3, ccd=3)
    """

    ra_deg: float
    dec_deg: float
    name: ResolvedName | None
    visits: tuple[Visit, ...]
    beside: tuple[Visit, ...]
    ps1_skycells: tuple[str, ...]
    field_skycells: tuple[str, ...]
    last_sector: int
    last_date: dt.date

    @property
    def is_covered(self) -> bool:
        """Whether PS1 saw it, so that a template can be made."""
        return bool(self.ps1_skycells)

    @property
    def position(self) -> str:
        """Right ascension and declination in degrees, as `target` takes them."""
        return f"{self.ra_deg:.6f},{self.dec_deg:+.6f}"

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know besides: PS1, edges, near misses, what isn't known."""
        return (self._about_ps1(), *self._about_place(), *self._about_sectors())

    def _about_ps1(self) -> str:
        n = len(self.field_skycells)
        if self.is_covered and self.dec_deg - _FIELD_DEG > PS1_SOUTH_DEG:
            held = ", ".join(self.ps1_skycells)
            return f"PS1 covers it: {held}; a field of {_FIELD_PX} px touches {n} skycells"
        if n:
            return (
                f"PS1 ends at declination {PS1_SOUTH_DEG:g}: a template of {_FIELD_PX} px would "
                "have gaps, flagged"
            )
        if self.dec_deg > PS1_SOUTH_DEG:
            return "no skycell of PS1 covers it: no template can be made"
        return f"PS1 has no stacks south of declination {PS1_SOUTH_DEG:g}: no template can be made"

    def _about_place(self) -> tuple[str, ...]:
        if self.name is None or self.name.motion_mas_per_year < _FAST_MAS_PER_YEAR:
            return ()
        speed = self.name.motion_mas_per_year / 1000
        return (f"it moves by {speed:.1f} arcsec a year: the position is that of J2000",)

    def _about_sectors(self) -> tuple[str, ...]:
        seen = {visit.detector.sector for visit in self.visits}
        notes = [
            f"{visit.detector} misses it by {-visit.edge_px:.1f} px"
            for visit in self.beside
            if visit.detector.sector not in seen
        ]
        if any(abs(v.edge_px) <= POINTING_ERROR_PX for v in (*self.visits, *self.beside)):
            notes.append(
                f"pixels are good to {POINTING_ERROR_PX:g} px: whether one so near an edge is "
                "seen, an FFI's own header tells"
            )
        planned = sum(visit.is_planned for visit in self.visits)
        if planned:
            notes.append(f"{planned} are planned: their pointing may change")
        notes.append(f"sectors after {self.last_sector} ({self.last_date}) are not known here")
        if self.last_date < dt.datetime.now(dt.UTC).date():
            notes.append("there are newer ones: pip install -U tess-point")
        return tuple(notes)

    @property
    def best(self) -> Visit | None:
        """The last visit that is over, if one is whole then one of those; None without PS1."""
        done = [visit for visit in self.visits if not visit.is_planned]
        if not done or not self.is_covered:
            return None
        return max(done, key=lambda visit: (min(visit.edge_px, _FIELD_PX / 2), visit.start))

    def table(self) -> Table:
        """Return the visits as a table.

        Returns
        -------
        astropy.table.Table
            One row a visit: sector, camera, ccd, column, row, edge_px, start, end.
        """
        from astropy.table import Table

        rows = [self._row(visit) for visit in self.visits]
        kinds = ("i4", "i4", "i4", "f8", "f8", "f8", "U10", "U10")
        names = ("sector", "camera", "ccd", "column", "row", "edge_px", "start", "end")
        found = Table(rows=rows or None, names=names, dtype=kinds)
        for name in names[3:6]:
            found[name].info.format = ".1f"
        return found

    @staticmethod
    def _row(visit: Visit) -> dict[str, Any]:
        dates = {"start": visit.start.isoformat(), "end": visit.end.isoformat()}
        pixel = {"column": visit.column, "row": visit.row, "edge_px": visit.edge_px}
        return {**asdict(visit.detector), **pixel, **dates}

    def to_dict(self) -> dict[str, Any]:
        """Return everything, as JSON holds it.

        Returns
        -------
        dict
            Position, name, visits, near misses, PS1's skycells, notes.
        """
        return {
            "ra_deg": self.ra_deg,
            "dec_deg": self.dec_deg,
            "name": None if self.name is None else asdict(self.name),
            "visits": [self._row(visit) for visit in self.visits],
            "beside": [self._row(visit) for visit in self.beside],
            "is_covered": self.is_covered,
            "ps1_skycells": self.ps1_skycells,
            "field_skycells": self.field_skycells,
            "last_sector": self.last_sector,
            "notes": self.notes,
        }

    def __repr__(self) -> str:
        called = f"{self.name.name} at " if self.name is not None else ""
        sectors = ", ".join(str(visit.detector.sector) for visit in self.visits)
        seen = f"TESS sectors {sectors}" if sectors else "on no TESS CCD in any known sector"
        return (
            f"<Visibility of {called}{self.position}: {seen}\n {self._about_ps1()}\n .table() has "
            "cameras, CCDs, pixels and dates; .notes says what else matters>"
        )
