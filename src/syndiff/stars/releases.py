"""The epoch of a star table's positions: what it says, or what its release is known for."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING

import numpy as np

from syndiff.constants import GAIA_YEAR
from syndiff.errors import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from syndiff.stars.table_columns import Columns

    Floats = NDArray[np.float64]

__all__ = ["known_places"]

logger = logging.getLogger(__name__)

YEARS = (1900.0, 2100.0)

TIC_EPOCH = 2000.0
"""Of ra and dec in the TIC; what its sources measured is in RA_orig, Dec_orig."""

_RELEASES = {
    2015.0: r"gaia[ _]?dr1|gaiadr1|\bI[/_]337\b|I_337_",
    2015.5: r"gaia[ _]?dr2|gaiadr2|\bI[/_]345\b|I_345_|J[/_]ApJ[/_]867[/_]105",
    GAIA_YEAR: r"gaia[ _]?e?dr3|gaiae?dr3|\bI[/_]35[05]\b|I_35[05]_",
}
"""Epochs of positions by what a table says of itself: Gaia's releases, there and at VizieR;
ATLAS's refcat2, which took them from DR2."""

_TIC_WORDS = frozenset(
    {"objtype", "disposition", "duplicate_id", "gaiamag", "posflag", "tessflag", "contratio"}
    | {"twomass", "spflag", "ra_orig", "gaiabp", "typesrc", "s/g", "s_g", "m_tic"}
)
_TIC_SPELLINGS = frozenset({"ID", "TIC", "pmDEC"})
_EPOCH_SLACK_YEARS = 2.0
_FAST_MAS_PER_YEAR = 20.0
# A place rounded to 1e-5 degrees moves the median of three such stars by a year.
_FEWEST_FAST = 3


def known_places(columns: Columns) -> tuple[Floats, Floats, Floats]:
    """Return positions and the epochs that they are at.

    Parameters
    ----------
    columns : Columns
        The table's.

    Returns
    -------
    ra, dec, epoch : (n,) float64
        Degrees, Julian years; NaN where unknown.

    Raises
    ------
    ConfigError
        If a column is missing, or the epoch is not given anywhere.

    Notes
    -----
    VizieR adds RAJ2000 and DEJ2000, at epoch 2000, to tables of another epoch: they are taken where
    the epoch of the others is not given anywhere. Stars without a motion have the others alone.
    """
    stated = _stated_epoch(columns)
    if columns.name_of("ra") is None and columns.name_of("ra2000") is not None:
        ra, dec = columns.needed("ra2000"), columns.needed("dec2000")
        return ra, dec, np.full(len(ra), 2000.0) if stated is None else stated
    ra, dec = columns.needed("ra"), columns.needed("dec")
    if stated is not None:
        _check_motion(columns, (ra, dec), stated)
        return ra, dec, stated
    ra2000, dec2000 = columns.find("ra2000"), columns.find("dec2000")
    if ra2000 is None or dec2000 is None:
        raise ConfigError(
            f"star catalogue {columns.source} gives no epoch: add a column epoch or ref_epoch "
            "(Julian years), or the key epoch to its metadata (2016.0 for Gaia DR3, 2015.5 for "
            "DR2, 2000.0 for the TIC)"
        )
    known = np.isfinite(ra2000) & np.isfinite(dec2000)
    epoch = np.full(len(ra), TIC_EPOCH)
    return np.where(known, ra2000, ra), np.where(known, dec2000, dec), epoch


def _stated_epoch(columns: Columns) -> Floats | None:
    """Return the epoch of the table or of its release; None if neither is known."""
    values = columns.find("epoch")
    released = _release(columns)
    if values is None:
        meta = {str(key).lower(): value for key, value in columns.table.meta.items()}
        found = [meta[n] for n in ("epoch", "ref_epoch") if n in meta]
        if found:
            values = np.full(len(columns.table), _year(columns.source, found[0]))
    if values is None:
        return None if released is None else np.full(len(columns.table), released)
    other = np.abs(values - released) > 0.01 if released is not None else np.zeros(1, np.bool_)
    if other.any():
        logger.warning(
            "star catalogue %s says epoch %g, but its columns are those of a table at %g: the "
            "former is taken",
            columns.source,
            values[np.argmax(other)],
            released,
        )
    return values


def _year(source: str, value: object) -> float:
    """Return a Julian year of metadata: a number, or text as ``J2016.0``."""
    try:
        return float(str(value).strip().removeprefix("J"))
    except ValueError:
        raise ConfigError(
            f"star catalogue {source}: its metadata give the epoch {value!r}, which is no Julian "
            "year: give for example 2016.0"
        ) from None


def _release(columns: Columns) -> float | None:
    """Return the epoch of the release that a table is evidently from."""
    names = set(columns.table.colnames)
    lower = {name.lower() for name in names}
    if columns.name_of("T") is not None and (
        len(_TIC_WORDS & lower) + len(_TIC_SPELLINGS & names) >= 2
    ):
        return TIC_EPOCH if columns.name_of("ra") is not None else None
    words = columns.words("release")
    text = " ".join(
        [str(value) for value in columns.table.meta.values()]
        + [str(columns.name_of("release") or "").replace("Name", "")]
        + ([] if words is None else words[:1].tolist())
    )
    text = re.sub(r"\b(E?DR[123])\b", r"gaia\1", text)
    found = [year for year, r in _RELEASES.items() if re.search(r, text, re.IGNORECASE)]
    return found[0] if len(found) == 1 else None


def _check_motion(columns: Columns, place: tuple[Floats, Floats], epoch: Floats) -> None:
    """Raise if the places at epoch 2000 beside these belie the epoch.

    They differ by the stars' proper motion over the years between; fast stars measure how many.
    """
    ra2000, dec2000 = columns.find("ra2000"), columns.find("dec2000")
    pmra, pmdec = columns.find("pmra"), columns.find("pmdec")
    if ra2000 is None or dec2000 is None or pmra is None or pmdec is None:
        return
    east = ((place[0] - ra2000 + 180) % 360 - 180) * np.cos(np.radians(place[1])) * 3.6e6
    north = (place[1] - dec2000) * 3.6e6
    square = pmra**2 + pmdec**2
    fast = np.isfinite(east + north + epoch) & (square > _FAST_MAS_PER_YEAR**2)
    if fast.sum() < _FEWEST_FAST:
        return
    moved = float(np.median(((east * pmra + north * pmdec) / square)[fast]))
    told = float(np.median(epoch[fast])) - 2000.0
    if abs(moved - told) > _EPOCH_SLACK_YEARS:
        raise ConfigError(
            f"star catalogue {columns.source}: {columns.name_of('ra')} is said to be of epoch "
            f"{2000 + told:g}, but is {moved:.1f} years of motion from "
            f"{columns.name_of('ra2000')}: give the epoch of {columns.name_of('ra')}"
        )
