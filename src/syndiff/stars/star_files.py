"""Star catalogue files: which rows are stars, their positions and magnitudes."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING

import numpy as np

from syndiff.errors import ConfigError
from syndiff.stars.catalogue import (
    NO_COLOUR_ERROR_MAG,
    RELATION_ERROR_MAG,
    StarCatalogue,
    tess_magnitude,
)
from syndiff.stars.releases import YEARS, known_places
from syndiff.stars.same_stars import further_entries
from syndiff.stars.table_columns import Columns
from syndiff.stars.table_files import read_table

if TYPE_CHECKING:
    from pathlib import Path

    from astropy.table import Table
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Rows = NDArray[np.bool_]

__all__ = ["read_star_file", "stars_of_table"]

logger = logging.getLogger(__name__)

_MAGS = (-2.0, 30.0)
"""From Sirius (T -1.4) to beyond PS1; 0 itself is a missing one (Vega's T is 0.03)."""

_COLOURS = (-1.0, 7.0)
"""BP - RP of the hottest stars is -0.7, of the coolest about 6."""

_MOST_ERROR_MAG = 5.0

_FASTEST_MAS_PER_YEAR = 10500.0
"""Barnard's star moves 10,390."""

_CODES = (99.0, 99.9, 99.99, 99.999, 9.0, 9.9, 9.99, 9.999)
_LONG_CODES = (999.0, 999.9, 999.99, 999.999, 9999.0, 9999.9, 9999.99, 99999.0, 32767.0)
"""Numbers that mean a missing value, of either sign."""

_NO_STARS = frozenset({"DUPLICATE", "ARTIFACT", "SPLIT", "JOIN", "6", "7", "8"})
"""The TIC's dispositions of rows whose light other rows hold, or nothing; in numbers too."""

_DEFAULT_LIMITS = frozenset({50, 2000})
"""Rows that astroquery (Gaia, VizieR) and Gaia's synchronous service stop at by default."""


def read_star_file(path: str | Path) -> StarCatalogue:
    """Read a star catalogue.

    Parameters
    ----------
    path : str or Path
        FITS table, ECSV, CSV or VOTable, known by its ending. Columns `ra`, `dec`, `pmra`,
        `pmdec`, `epoch` (or ``epoch`` in the table's metadata) and G, BP, RP or T; other usual
        names are known too. `id` and `e_T` are optional.

    Returns
    -------
    StarCatalogue
        Its stars, each once, as of `stars_of_table`.

    Raises
    ------
    ConfigError
        If the file can't be read, a column is missing, or values are impossible.
    """
    table = read_table(path)
    if len(table) in _DEFAULT_LIMITS:
        logger.warning(
            "star catalogue %s has exactly %d rows, at which services stop by default: is it "
            "complete?",
            path,
            len(table),
        )
    return stars_of_table(table, str(path))


def stars_of_table(table: Table, source: str) -> StarCatalogue:
    """Return the stars of a table.

    Parameters
    ----------
    table : Table
        Columns as for `read_star_file`.
    source : str
        Its source, for messages.

    Returns
    -------
    StarCatalogue
        Sorted. Left out, with a warning that counts them: rows that are no star, that have no
        position, epoch or magnitude, and further entries of one star.

    Raises
    ------
    ConfigError
        If a column is missing, values are impossible, or no star is left.
    """
    columns = Columns(table, source)
    ra, dec, epoch = _places(columns)
    pmra, pmdec = _motions(columns)
    tmag, colour, error = _magnitudes(columns)
    identity, numbered = _identity(columns)
    stars = StarCatalogue(ra % 360.0, dec, pmra, pmdec, epoch, tmag, colour, error, identity)
    left_out = _not_stars(columns) | {
        "without a position": ~np.isfinite(ra + dec),
        "without an epoch": ~np.isfinite(epoch),
        "without a magnitude": ~np.isfinite(tmag),
    }
    good = ~np.logical_or.reduce(list(left_out.values()))
    kept = np.flatnonzero(good)
    gaia = columns.words("gaia")
    again = np.zeros(len(table), np.bool_)
    again[kept] = further_entries(
        stars.select(kept),
        numbered=numbered[kept],
        in_gaia=None if gaia is None else _is_there(gaia[kept]),
    )
    _tell(source, len(table), left_out | {"a further entry of a star": again})
    if not (good & ~again).any():
        raise ConfigError(
            f"star catalogue {source} holds no star that can be used, of {len(table)} rows: "
            f"{_counts(left_out)}"
        )
    return stars.select(good & ~again).sorted()


def _counts(left_out: dict[str, Rows]) -> str:
    """Return how many rows are left out for what; each row counts for its first reason."""
    texts = []
    seen = np.zeros(len(next(iter(left_out.values()))), np.bool_)
    for reason, rows in left_out.items():
        new = np.flatnonzero(rows & ~seen)
        seen |= rows
        if new.size:
            texts.append(f"{new.size} {reason} (first row {new[0]}, from 0)")
    return ", ".join(texts)


def _tell(source: str, rows: int, left_out: dict[str, Rows]) -> None:
    gone = int(np.logical_or.reduce(list(left_out.values())).sum())
    if gone:
        logger.warning(
            "star catalogue %s: %d of %d rows are left out: %s",
            source,
            gone,
            rows,
            _counts(left_out),
        )


def _not_stars(columns: Columns) -> dict[str, Rows]:
    """Return the rows that are marked as something else than a star of their own."""
    marks = {
        "kind": ("that are no point source (EXTENDED)", frozenset({"EXTENDED"})),
        "disposition": ("with a disposition (DUPLICATE, SPLIT, ARTIFACT)", _NO_STARS),
    }
    found = {}
    for key, (reason, words) in marks.items():
        told = columns.words(key)
        if told is not None:
            named = [word.upper().removesuffix(".0") in words for word in told.tolist()]
            found[reason] = np.array(named, np.bool_)
    return found


def _places(columns: Columns) -> tuple[Floats, Floats, Floats]:
    """Return positions and epochs, NaN where they are missing."""
    ra, dec, epoch = known_places(columns)
    missing = ((ra == 0) & (dec == 0)) | ((ra == dec) & _is_code(dec, *_CODES))
    missing |= _is_code(ra, *_LONG_CODES) | (_is_code(dec, *_CODES) & (np.abs(dec) > 90))
    missing |= _is_code(dec, *_LONG_CODES)
    ra, dec = np.where(missing, np.nan, ra), np.where(missing, np.nan, dec)
    epoch = np.where((epoch == 0) | _is_code(epoch, *_CODES, *_LONG_CODES), np.nan, epoch)
    _check(columns, "ra", ra, (-360.0, 360.0))
    _check(columns, "dec", dec, (-90.0, 90.0))
    _check(columns, "epoch", epoch, YEARS)
    return ra, dec, epoch


def _motions(columns: Columns) -> tuple[Floats, Floats]:
    """Return proper motions, 0 where one is missing."""
    if columns.name_of("pmra") is None and "pm_ra" in map(str.lower, columns.table.colnames):
        raise ConfigError(
            f"star catalogue {columns.source}: pm_ra doesn't tell whether cos(dec) is in it: call "
            "it pm_ra_cosdec (or pmra) if it is, else multiply it"
        )
    pmra, pmdec = columns.needed("pmra"), columns.needed("pmdec")
    missing = (np.abs(pmra) == np.abs(pmdec)) & _is_code(pmra, *_CODES)
    for name, values in (("pmra", pmra), ("pmdec", pmdec)):
        gap = missing | _is_code(values, *_LONG_CODES)
        values[gap | ~np.isfinite(values)] = 0.0
        _check(columns, name, values, (-_FASTEST_MAS_PER_YEAR, _FASTEST_MAS_PER_YEAR))
    return pmra, pmdec


def _magnitudes(columns: Columns) -> tuple[Floats, Floats, Floats]:
    """Return T, BP-RP and the error of T; NaN where they are missing."""
    given, g, bp, rp = (_magnitude(columns, key) for key in ("T", "G", "BP", "RP"))
    nothing = np.full(len(columns.table), np.nan)
    colour = columns.find("colour") if bp is None or rp is None else bp - rp
    if given is None and (g is None or colour is None):
        raise ConfigError(_no_magnitudes(columns))
    colour = nothing if colour is None else colour
    colour = np.where((colour > _COLOURS[0]) & (colour < _COLOURS[1]), colour, np.nan)
    tmag, is_coloured = tess_magnitude(nothing if g is None else g, colour, 0.0)
    error = np.where(is_coloured, RELATION_ERROR_MAG, NO_COLOUR_ERROR_MAG)
    if given is not None:
        known = np.isfinite(given)
        stated = columns.find("e_T")
        stated = nothing if stated is None else stated
        is_stated = (stated > 0) & (stated < _MOST_ERROR_MAG)
        tmag = np.where(known, given, tmag)
        error = np.where(known, np.where(is_stated, stated, RELATION_ERROR_MAG), error)
    return tmag, np.asarray(colour, np.float64), error


def _magnitude(columns: Columns, key: str) -> Floats | None:
    """Return magnitudes, NaN where one is missing or none can be so bright or so faint."""
    values = columns.find(key)
    if values is None:
        return None
    return np.where((values > _MAGS[0]) & (values < _MAGS[1]) & (values != 0), values, np.nan)


def _no_magnitudes(columns: Columns) -> str:
    names = columns.table.colnames
    has_flux = any("flux" in name.lower() for name in names)
    return (
        f"star catalogue {columns.source} has neither a column T nor all of G, BP, RP (or "
        f"phot_g_mean_mag, ...); it has {', '.join(names)}: add them"
        + (", as magnitudes: fluxes are not taken" if has_flux else "")
    )


def _identity(columns: Columns) -> tuple[NDArray[np.int64], Rows]:
    """Return a number for each row, and whether it is the catalogue's."""
    rows = np.arange(len(columns.table), dtype=np.int64)
    name, words = columns.name_of("id"), columns.words("id")
    if name is None or words is None:
        return rows, np.zeros(len(rows), np.bool_)
    column = np.ma.asarray(columns.table[name])
    if column.dtype.kind in "iu":
        numbered = ~np.ma.getmaskarray(column) & (column.data != 0)
        return np.where(numbered, column.data.astype(np.int64), -1 - rows), numbered
    # Text as 'Gaia DR3 123'; numbers with a point have lost the digits that tell stars apart.
    found = [re.fullmatch(r"(?:.*\s)?(\d{1,18}|[1-8]\d{18})", w) for w in words]
    numbers = np.array([-1 - k if f is None else int(f[1]) for k, f in enumerate(found)], np.int64)
    return numbers, numbers >= 0


def _is_there(words: NDArray[np.str_]) -> Rows:
    """Tell which cells hold something."""
    return np.array([w.lower() not in {"", "0", "nan", "--", "null"} for w in words], np.bool_)


def _is_code(values: Floats, *codes: float) -> Rows:
    """Tell which numbers stand for missing ones."""
    return np.asarray(np.isin(np.abs(values), codes), np.bool_)


def _check(columns: Columns, name: str, values: Floats, limits: tuple[float, float]) -> None:
    """Raise for values that can't be: not missing ones, so the column is something else."""
    bad = (values < limits[0]) | (values > limits[1])
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise ConfigError(
            f"star catalogue {columns.source}: {name} is {values[row]} in row {row} (from 0), "
            f"one of {int(bad.sum())} such rows: give {limits[0]:g} to {limits[1]:g}, or "
            "leave the rows out"
        )
