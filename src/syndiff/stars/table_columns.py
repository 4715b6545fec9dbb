"""Columns of star tables by the names that archives give them, in our units, gaps as NaN."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from syndiff.errors import ConfigError

if TYPE_CHECKING:
    from astropy.table import Table
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = ["Columns"]

_NAMES = {
    "ra": ("ra", "ra_icrs", "ra_deg", "radeg", "rah", "ra_h", "ra_hours"),
    "dec": ("dec", "de_icrs", "dec_icrs", "dec_deg", "dedeg", "decdeg", "de"),
    "ra2000": ("raj2000", "_raj2000"),
    "dec2000": ("dej2000", "decj2000", "_dej2000"),
    "pmra": ("pmra", "pm_ra_cosdec", "pmra_cosdec", "pmracosdec"),
    "pmdec": ("pmdec", "pmde", "pm_dec"),
    "epoch": ("epoch", "ref_epoch", "refepoch"),
    "G": ("phot_g_mean_mag", "Gmag", "G", "gaiamag", "gmag", "g"),
    "BP": ("phot_bp_mean_mag", "bpmag", "bp", "gaiabp"),
    "RP": ("phot_rp_mean_mag", "rpmag", "rp", "gaiarp"),
    "colour": ("bp_rp", "bp-rp", "bp_minus_rp"),
    "T": ("t", "tmag", "tess_mag", "tessmag"),
    "e_T": ("e_t", "e_tmag", "tmag_error"),
    "id": ("source_id", "id", "source", "tic", "ticid"),
    "disposition": ("disposition", "disp"),
    "kind": ("objtype", "s/g", "s_g"),
    "gaia": ("gaia",),
    "release": ("designation", "dr3name", "edr3name", "dr2name"),
}
"""Names of columns: ours, Gaia's archive's, VizieR's, the TIC's. Case counts where a capital is
written, as in VizieR's Gmag of Gaia beside the gmag of Sloan's filters."""

_SLOAN = frozenset({"r", "rmag", "i", "imag"})
_GAIA = frozenset({"bp", "bpmag", "bp_rp", "bp-rp"})
"""A column g or gmag is of Gaia's G beside these, and of Sloan's g beside those."""

_UNITS = {"ra": "deg", "dec": "deg", "pmra": "mas / yr", "pmdec": "mas / yr", "epoch": "yr"}
_MAGNITUDES = frozenset({"G", "BP", "RP", "colour", "T", "e_T"})
_HOURS = frozenset({"h", "hr", "hour", "hours", "hourangle"})
_HOUR_NAMES = frozenset({"rah", "ra_h", "ra_hours"})
_EMPTY = frozenset({"", "--", "-", "null", "none", "nan", "n/a", "na"})
_HUGE = 1e10
"""Beyond it, a number means a missing value."""


class Columns:
    """The columns of a table, by our names.

    Parameters
    ----------
    table : Table
        The table.
    source : str
        Its source, for messages.
    """

    def __init__(self, table: Table, source: str) -> None:
        self.table = table
        self.source = source
        self._lower: dict[str, list[str]] = {}
        for name in table.colnames:
            self._lower.setdefault(name.lower(), []).append(name)

    def name_of(self, key: str) -> str | None:
        """Return a column's name in the table.

        Parameters
        ----------
        key : str
            Our name.

        Returns
        -------
        str or None
            None if there is none.

        Raises
        ------
        ConfigError
            If two columns could be meant.
        """
        for alias in _NAMES[key]:
            if alias in self.table.colnames and not self._is_sloan(alias):
                return alias
            found = self._lower.get(alias, [])
            if len(found) > 1:
                raise ConfigError(
                    f"star catalogue {self.source} has columns {' and '.join(found)}, and either "
                    f"could be {key}: leave one"
                )
            if found and not self._is_sloan(alias):
                return str(found[0])
        return None

    def _is_sloan(self, alias: str) -> bool:
        """Tell whether a name means Sloan's g: beside its other filters, or not beside Gaia's."""
        names = set(self._lower)
        return alias in {"g", "gmag"} and (bool(_SLOAN & names) or not _GAIA & names)

    def find(self, key: str) -> Floats | None:
        """Return a column in our unit.

        Parameters
        ----------
        key : str
            Our name.

        Returns
        -------
        (n,) float64 or None
            NaN where masked, empty, infinite or beyond 1e10; None if there is no such column.

        Raises
        ------
        ConfigError
            If it holds no numbers, several a row, or a unit that is none of its kind.
        """
        name = self.name_of(key)
        if name is None:
            return None
        column, kind = self.table[name], key.removesuffix("2000")
        unit = str(getattr(column, "unit", None) or "").strip().strip('"')
        values = self._numbers(name, column)
        if values is None:
            text = _words(column)
            sexagesimal = [_sexagesimal(word) for word in text]
            if kind not in {"ra", "dec"} or None in sexagesimal:
                word = next(w for w, v in zip(text, map(_number, text), strict=True) if v is None)
                raise ConfigError(
                    f"star catalogue {self.source}: column {name} holds no numbers ({word!r}): "
                    "give numbers"
                )
            values = np.array(sexagesimal, np.float64)
            unit = "h" if kind == "ra" else "deg"
        values = np.where(np.abs(values) < _HUGE, values, np.nan)
        return np.asarray(values * self._factor(kind, name, unit), np.float64)

    def needed(self, key: str) -> Floats:
        """Return a column that must be there.

        Parameters
        ----------
        key : str
            Our name.

        Returns
        -------
        (n,) float64
            As of `find`.

        Raises
        ------
        ConfigError
            If it is missing, or not what it should be.
        """
        values = self.find(key)
        if values is None:
            others = [n for n in (*_NAMES.get(f"{key}2000", ()), *_NAMES[key]) if n != key]
            raise ConfigError(
                f"star catalogue {self.source} has no column {key} (nor {', '.join(others)}); it "
                f"has {', '.join(self.table.colnames)}: add it"
            )
        return values

    def words(self, key: str) -> NDArray[np.str_] | None:
        """Return a column as text.

        Parameters
        ----------
        key : str
            Our name.

        Returns
        -------
        (n,) str or None
            Empty where masked; None if there is no such column.
        """
        name = self.name_of(key)
        return None if name is None else np.array(_words(self.table[name]), np.str_)

    def _numbers(self, name: str, column: Any) -> Floats | None:  # noqa: ANN401 - a column
        """Return a column's numbers; None if some are words."""
        plain = np.ma.asarray(column)
        if plain.ndim > 1 and plain.size == len(self.table):
            plain = plain.reshape(len(self.table))
        if plain.ndim != 1:
            raise ConfigError(
                f"star catalogue {self.source}: column {name} holds {plain.shape[1:]} numbers a "
                "row: give one"
            )
        if plain.dtype.kind in "iuf":
            return np.ma.filled(plain.astype(np.float64), np.nan)
        numbers = [_number(word) for word in _words(column)]
        return None if None in numbers else np.array(numbers, np.float64)

    def _factor(self, kind: str, name: str, unit: str) -> float:
        """Return what a column is to be multiplied with."""
        from astropy import units

        if kind == "ra" and (unit.lower() in _HOURS or (not unit and name.lower() in _HOUR_NAMES)):
            return 15.0
        if not unit or unit in {"---", "unknown"}:
            return 1.0
        wanted = "mag" if kind in _MAGNITUDES else _UNITS.get(kind)
        if wanted is None or (wanted == "mag" and "mag" in unit.lower()):
            return 1.0
        try:
            return float(_unit(unit).to(units.Unit(wanted)))
        except (units.UnitConversionError, ValueError, TypeError) as error:
            raise ConfigError(
                f"star catalogue {self.source}: column {name} is in {unit}, which is no "
                f"{wanted} ({error}): correct the unit"
            ) from error


def _unit(text: str) -> Any:  # noqa: ANN401 - astropy's units have no common type
    """Return a unit in any of the spellings that archives use."""
    from astropy import units

    for kind in ("generic", "cds", "vounit", "fits", "ogip"):
        try:
            return units.Unit(text, format=kind)
        except ValueError:
            continue
    return units.Unit(text)


def _words(column: Any) -> list[str]:  # noqa: ANN401 - a column
    """Return a column's entries as text, empty where masked."""
    plain = np.ma.asarray(column)
    words = (w.decode("ascii", "replace") if isinstance(w, bytes) else str(w) for w in plain.data)
    hidden = np.ma.getmaskarray(plain)
    return ["" if h else word.strip() for word, h in zip(words, hidden, strict=True)]


def _number(word: str) -> float | None:
    """Return a number, NaN for an empty one, None for another word."""
    if word.lower() in _EMPTY:
        return np.nan
    try:
        return float(word)
    except ValueError:
        return None


def _sexagesimal(word: str) -> float | None:
    """Return 'hh mm ss.s' or 'dd:mm:ss' in its first unit; None for another word."""
    if word.lower() in _EMPTY:
        return np.nan
    found = re.fullmatch(
        r"([+-]?)(\d{1,3})\s*[:hd°\s]\s*(\d{1,2})(?:\s*[:m'\s]\s*(\d{1,2}(?:\.\d*)?)\s*[s\"]?)?m?",
        word,
    )
    if found is None:
        return None
    minutes, seconds = float(found[3]), float(found[4] or 0)
    if minutes >= 60 or seconds > 60:
        return None
    value = float(found[2]) + minutes / 60 + seconds / 3600
    return -value if found[1] == "-" else value
