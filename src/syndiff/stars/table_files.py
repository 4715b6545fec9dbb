"""Tables in files, as archives and people write them: packed, cut, with or without delimiters."""

from __future__ import annotations

import csv
import gzip
import io
import logging
import re
import warnings
import zlib
from pathlib import Path
from struct import error as struct_error
from typing import TYPE_CHECKING
from xml.parsers.expat import ExpatError

from syndiff.errors import ConfigError
from syndiff.stars.fits_tables import read_fits_table

if TYPE_CHECKING:
    from collections.abc import Callable

    from astropy.table import Table

__all__ = ["read_table"]

logger = logging.getLogger(__name__)

_DELIMITERS = ",;\t|"
_UNIT_WORDS = frozenset({"deg", "mag", "mas/yr", "mas / yr", "mas.yr-1", "h:m:s", "d:m:s"})
_EMPTY = ("", "null", "NULL", "nan", "NaN", "NAN", "None", "--", "N/A", "n/a", "NA")

_UNREADABLE = (
    *(OSError, ValueError, TypeError, LookupError, AttributeError, SyntaxError, EOFError),
    *(AssertionError, ArithmeticError, MemoryError, RecursionError, ExpatError, struct_error),
)
"""What astropy's readers raise on damaged content."""


def read_table(path: str | Path) -> Table:
    """Return the table of a file.

    Parameters
    ----------
    path : str or Path
        FITS table, ECSV, CSV (or with semicolons, tabs or bars) or VOTable, known by its ending;
        each also with gzip.

    Returns
    -------
    Table
        All its rows; at least one.

    Raises
    ------
    ConfigError
        If there is no such file, or no whole table in it.
    """
    file = Path(path).expanduser()
    name = file.name.lower().removesuffix(".gz")
    ending = next((e for e in _READERS if name.endswith(e)), None)
    if ending is None:
        raise ConfigError(
            f"star catalogue {file} has an unknown ending: give a file that ends in "
            f"{', '.join(_READERS)}, each also with .gz, or 'gaia' or 'none'"
        )
    if file.is_dir():
        raise ConfigError(f"star catalogue {file} is a folder: give a file, 'gaia' or 'none'")
    if not file.is_file():
        raise ConfigError(f"star catalogue {file} is not there: give a file, 'gaia' or 'none'")
    kind, reader = _READERS[ending]
    try:
        content = _unpacked(file.read_bytes())
        with warnings.catch_warnings():
            # Units and cards that violate a standard in small ways don't matter here.
            warnings.simplefilter("ignore")
            table = reader(content)
    except _UNREADABLE as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise ConfigError(
            f"star catalogue {file} can't be read as {kind} ({reason}): check the file and its "
            "ending"
        ) from error
    if not len(table):
        raise ConfigError(f"star catalogue {file} has no rows: give one of this field, or 'none'")
    return table


def _unpacked(content: bytes) -> bytes:
    """Return a file's content without gzip, if it is something at all."""
    if content.startswith(b"\x1f\x8b"):
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f"its gzip is damaged or cut short: {error}") from error
    if not content.strip(b"\0 \r\n\t"):
        raise ValueError("it is empty")
    if re.match(rb"(\xef\xbb\xbf)?\s*<(!doctype\s+)?html", content[:1000], re.IGNORECASE):
        raise ValueError("it is a web page: the download failed")
    return content


def _text(content: bytes) -> str:
    """Return a file's text, lines ended alike."""
    if content[:2] in {b"\xff\xfe", b"\xfe\xff"}:
        text = content.decode("utf-16")
    elif b"\0" in content:
        raise ValueError("it is no text")
    else:
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = content.decode("latin-1")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _read_ecsv(content: bytes) -> Table:
    from astropy.table import Table

    text = _text(content)
    if not text.endswith("\n"):
        raise ValueError("it ends amid a line: it is cut short")
    return Table.read(text.split("\n")[:-1], format="ascii.ecsv")


def _read_text(content: bytes) -> Table:
    """Read lines of fields between delimiters, VizieR's with units and dashes below the names."""
    from astropy.table import Table

    comments, lines = _lines(_text(content))
    delimiter = max(_DELIMITERS, key=lines[0].count)
    if delimiter not in lines[0]:
        delimiter = " "
    names = _fields(lines[0], delimiter)
    units, rows = _without_units(lines[1:], delimiter)
    if not rows:
        return Table(names=names)
    last = _fields(rows[-1], delimiter)
    if len(last) < len(names):
        raise ValueError(f"its last line has {len(last)} fields, not {len(names)}: it is cut short")
    table = Table.read(
        "\n".join([delimiter.join(f'"{name}"' for name in names), *rows]),
        format="ascii.tab" if delimiter == "\t" else "ascii.basic",
        delimiter=delimiter,
        guess=False,
        fill_values=[(word, "0") for word in _EMPTY],
    )
    for name, unit in zip(names, units, strict=False):
        if unit:
            table[name].unit = _unit(unit)
    table.meta["comments"] = comments
    return table


def _lines(text: str) -> tuple[list[str], list[str]]:
    """Return comments, and the lines of names and rows."""
    lines = [line for line in text.split("\n") if line.strip()]
    comments = [line for line in lines if line.lstrip().startswith("#")]
    lines = [line for line in lines if not line.lstrip().startswith("#")]
    if comments and (not lines or not re.search(r"[A-Za-z_]{1,}", lines[0].split()[0])):
        # The names themselves may be a comment, as numpy and TOPCAT write them.
        lines.insert(0, comments[-1].lstrip().lstrip("#").strip())
    if not lines:
        raise ValueError("it holds comments alone")
    return comments, lines


def _fields(line: str, delimiter: str) -> list[str]:
    if delimiter == " ":
        return line.split()
    return [field.strip() for field in next(csv.reader([line], delimiter=delimiter))]


def _without_units(rows: list[str], delimiter: str) -> tuple[list[str], list[str]]:
    """Return the units, if the first line has them, and the data rows."""
    units: list[str] = []
    if rows and _UNIT_WORDS & set(_fields(rows[0], delimiter)):
        units, rows = _fields(rows[0], delimiter), rows[1:]
    if rows and all(set(field) <= {"-"} for field in _fields(rows[0], delimiter)):
        rows = rows[1:]
    return units, rows


def _unit(text: str) -> object:
    from astropy import units

    return units.Unit(text, parse_strict="silent")


def _read_votable(content: bytes) -> Table:
    from astropy.io.votable import parse

    if b"VOTABLE" not in content[:2000]:
        raise ValueError("it is no VOTable")
    tree = parse(io.BytesIO(content), verify="ignore")
    marks = {i.value.upper() for r in tree.resources for i in r.infos if i.name == "QUERY_STATUS"}
    if "ERROR" in marks:
        raise ValueError("it is marked as a failed query")
    first = next(iter(tree.iter_tables()))
    table = first.to_table(use_names_over_ids=True)
    if "OVERFLOW" in marks:
        logger.warning(
            "the star catalogue is marked OVERFLOW after %d rows: the service left stars out",
            len(table),
        )
    table.meta["about"] = f"{first.ID} {first.name} {first.description}"
    return table


_READERS: dict[str, tuple[str, Callable[[bytes], Table]]] = {
    ".fits": ("fits", read_fits_table),
    ".fit": ("fits", read_fits_table),
    ".ecsv": ("ecsv", _read_ecsv),
    ".csv": ("csv", _read_text),
    ".tsv": ("tsv", _read_text),
    ".vot": ("votable", _read_votable),
    ".xml": ("votable", _read_votable),
}
