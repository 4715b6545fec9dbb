"""Star catalogue files: FITS, ECSV, CSV, VOTable, with the names that Gaia and others use."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from syndiff.errors import ConfigError
from syndiff.stars.catalogue import (
    NO_COLOUR_ERROR_MAG,
    RELATION_ERROR_MAG,
    StarCatalogue,
    tess_magnitude,
)

if TYPE_CHECKING:
    from astropy.table import Table
    from numpy.typing import NDArray

__all__ = ["read_star_file", "stars_of_table"]

_NAMES = {
    "ra": ("ra", "raj2000", "ra_icrs", "ra_deg"),
    "dec": ("dec", "dej2000", "decj2000", "de_icrs", "dec_deg"),
    "pmra": ("pmra", "pm_ra"),
    "pmdec": ("pmdec", "pmde", "pm_dec"),
    "epoch": ("epoch", "ref_epoch"),
    "G": ("g", "phot_g_mean_mag", "gmag"),
    "BP": ("bp", "phot_bp_mean_mag", "bpmag"),
    "RP": ("rp", "phot_rp_mean_mag", "rpmag"),
    "T": ("t", "tmag", "tess_mag", "tessmag"),
    "e_T": ("e_t", "e_tmag", "tmag_error"),
    "id": ("source_id", "id", "source", "tic", "ticid"),
}
"""Names of columns, in lower case: ours, Gaia's archive's, VizieR's, the TIC's."""

_UNITS = {"ra": "deg", "dec": "deg", "pmra": "mas / yr", "pmdec": "mas / yr", "epoch": "yr"}

_FORMATS = {
    ".fits": "fits",
    ".fit": "fits",
    ".fits.gz": "fits",
    ".ecsv": "ascii.ecsv",
    ".csv": "ascii.csv",
    ".vot": "votable",
    ".xml": "votable",
    ".vot.gz": "votable",
}

_YEARS = (1900.0, 2100.0)
_MAGS = (-30.0, 40.0)


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
        Every row.

    Raises
    ------
    ConfigError
        If the file can't be read, a column is missing, or values are impossible.
    """
    from astropy.table import Table

    file = Path(path).expanduser()
    ending = next((e for e in sorted(_FORMATS, key=len)[::-1] if file.name.lower().endswith(e)), "")
    if not ending:
        raise ConfigError(
            f"star catalogue {file} has an unknown ending: give a file that ends in "
            f"{', '.join(_FORMATS)}, or 'gaia' or 'none'"
        )
    if not file.is_file():
        raise ConfigError(f"star catalogue {file} is not there: give a file, 'gaia' or 'none'")
    try:
        table = Table.read(file, format=_FORMATS[ending])
    except (OSError, ValueError, TypeError, KeyError, IndexError) as error:
        raise ConfigError(
            f"star catalogue {file} can't be read as {_FORMATS[ending]} ({error}): check the file "
            "and its ending"
        ) from error
    if not len(table):
        raise ConfigError(f"star catalogue {file} has no rows: give one of this field, or 'none'")
    return stars_of_table(table, str(file))


def stars_of_table(table: Table, source: str) -> StarCatalogue:
    """Return the stars of a table.

    Parameters
    ----------
    table : Table
        Columns as for `read_star_file`.
    source : str
        Where it came from, for messages.

    Returns
    -------
    StarCatalogue
        Every row, sorted.

    Raises
    ------
    ConfigError
        If a column is missing or values are impossible.
    """
    columns = _Columns(table, source)
    ra, dec = columns.needed("ra"), columns.needed("dec")
    columns.check("ra", ra, (-360.0, 360.0))
    columns.check("dec", dec, (-90.0, 90.0))
    pmra, pmdec = (np.nan_to_num(columns.needed(name)) for name in ("pmra", "pmdec"))
    epoch = columns.epoch()
    columns.check("epoch", epoch, _YEARS)
    tmag, colour, error = columns.magnitudes()
    columns.check("T (or G)", tmag, _MAGS)
    return StarCatalogue(
        ra % 360.0, dec, pmra, pmdec, epoch, tmag, colour, error, columns.identity()
    ).sorted()


class _Columns:
    """The columns of a table, by our names."""

    def __init__(self, table: Table, source: str) -> None:
        self._table = table
        self._source = source
        self._names = {name.lower(): name for name in table.colnames}

    def find(self, name: str) -> NDArray[np.float64] | None:
        """Return a column in our unit; NaN where masked. None if there is none."""
        for alias in _NAMES[name]:
            if alias in self._names:
                return self._convert(name, self._table[self._names[alias]])
        return None

    def needed(self, name: str) -> NDArray[np.float64]:
        """Return a column that must be there."""
        values = self.find(name)
        if values is None:
            raise ConfigError(
                f"star catalogue {self._source} has no column {name} (nor "
                f"{', '.join(_NAMES[name][1:])}); it has {', '.join(self._table.colnames)}: add it"
            )
        return values

    def _convert(self, name: str, column: Any) -> NDArray[np.float64]:  # noqa: ANN401 - a column
        from astropy import units

        unit = getattr(column, "unit", None)
        try:
            values = np.ma.filled(np.ma.asarray(column, np.float64), np.nan)
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f"star catalogue {self._source}: column {column.name} holds no numbers ({error}): "
                "give numbers"
            ) from error
        if unit is None or name not in _UNITS:
            return np.asarray(values, np.float64)
        try:
            factor = units.Unit(unit).to(units.Unit(_UNITS[name]))
        except (units.UnitConversionError, ValueError, TypeError) as error:
            raise ConfigError(
                f"star catalogue {self._source}: column {column.name} is in {unit}, which is no "
                f"{_UNITS[name]} ({error}): correct the unit"
            ) from error
        return np.asarray(values * factor, np.float64)

    def epoch(self) -> NDArray[np.float64]:
        """Return the epoch of each row, from the column or the table's metadata."""
        values = self.find("epoch")
        if values is not None:
            return values
        meta = {str(key).lower(): value for key, value in self._table.meta.items()}
        found = [meta[name] for name in _NAMES["epoch"] if name in meta]
        try:
            return np.full(len(self._table), float(found[0]))
        except (IndexError, TypeError, ValueError):
            raise ConfigError(
                f"star catalogue {self._source} tells no epoch: add a column epoch or ref_epoch "
                "(Julian years), or the key epoch to its metadata (2016.0 for Gaia DR3)"
            ) from None

    def magnitudes(
        self,
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Return T, BP-RP and the error of T."""
        given, g = self.find("T"), self.find("G")
        nothing = np.full(len(self._table), np.nan)
        bp, rp = (self.find(name) for name in ("BP", "RP"))
        if given is None and (g is None or bp is None or rp is None):
            raise ConfigError(
                f"star catalogue {self._source} has neither a column T nor all of G, BP, RP (or "
                f"phot_g_mean_mag, ...); it has {', '.join(self._table.colnames)}: add them"
            )
        colour = nothing if bp is None or rp is None else bp - rp
        tmag, is_coloured = tess_magnitude(
            nothing if g is None else g,
            nothing if bp is None else bp,
            nothing if rp is None else rp,
        )
        error = np.where(is_coloured, RELATION_ERROR_MAG, NO_COLOUR_ERROR_MAG)
        if given is not None:
            known = np.isfinite(given)
            stated = self.find("e_T")
            given_error = np.full(len(given), RELATION_ERROR_MAG) if stated is None else stated
            tmag = np.where(known, given, tmag)
            error = np.where(known & np.isfinite(given_error), given_error, error)
        return tmag, np.asarray(colour, np.float64), error

    def identity(self) -> NDArray[np.int64]:
        """Return the number of each row in its catalogue; else the row's."""
        for alias in _NAMES["id"]:
            column = self._names.get(alias)
            if column is not None and np.issubdtype(self._table[column].dtype, np.integer):
                return np.asarray(self._table[column], np.int64)
        return np.arange(len(self._table), dtype=np.int64)

    def check(self, name: str, values: NDArray[np.float64], limits: tuple[float, float]) -> None:
        """Raise unless all values are finite and within limits."""
        bad = ~(np.isfinite(values) & (values >= limits[0]) & (values <= limits[1]))
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            raise ConfigError(
                f"star catalogue {self._source}: {name} is {values[row]} in row {row} (from 0), "
                f"one of {int(bad.sum())} such rows: give {limits[0]:g} to {limits[1]:g}, or "
                "leave the rows out"
            )
