"""A user's catalogue of skycells: a CSV file, read and checked."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from syndiff.config import PS1_PIXEL_ARCSEC
from syndiff.errors import GeometryError
from syndiff.sky.skycell_table import SkycellTable, corner_pixels

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["read_catalogue"]

Floats = NDArray[np.float64]

SCALE_TOLERANCE = 1e-5
"""Relative departure from 0.25" square pixels that a catalogue may have (its rounding)."""

MAX_SIZE_PX = 65_536
"""Largest skycell; the survey's own have 6240 to 6501 pixels."""

MAX_REACH_DEG = 10.0
"""Largest distance of a skycell from its tangent point; 2.9 in RINGS.V3."""

SAFE_NAME = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
"""Names become parts of paths: no separator, no leading dot, no two dots in a row."""

_SIZE = ("NAXIS1", "NAXIS2")
_REALS = (
    ("CRVAL1", "CRVAL2"),
    ("CRPIX1", "CRPIX2"),
    ("CDELT1", "CDELT2"),
    ("PC1_1", "PC1_2", "PC2_1", "PC2_2"),
)
_COLUMNS = ("NAME", *_SIZE, *(name for names in _REALS for name in names))


def read_catalogue(content: bytes | str | Path) -> SkycellTable:
    """Read a user's catalogue of skycells.

    Parameters
    ----------
    content : bytes or str or Path
        The CSV file's bytes, or its path. One header row with NAME, NAXIS1, NAXIS2, CRVAL1, CRVAL2,
        CRPIX1, CRPIX2, CDELT1, CDELT2, PC1_1, PC1_2, PC2_1, PC2_2 in any order and case (PC001001
        and the like are understood); other columns, such as RA and DEC, are ignored.

    Returns
    -------
    SkycellTable
        The skycells, sorted by name.

    Raises
    ------
    GeometryError
        If the file can't be read, a column is missing, or a value can't be used; the message names
        row, column and value.
    """
    source, text = _read_text(content)
    try:
        rows = list(_rows(text, source))
    except csv.Error as error:
        raise GeometryError(f"{source} is not a CSV file: {error}") from error
    if not rows:
        raise GeometryError(f"{source} lists no skycell: give one row a skycell below the header")
    lines = [line for line, _ in rows]
    texts = dict(zip(_COLUMNS, zip(*(values for _, values in rows), strict=True), strict=True))
    names = np.array(texts["NAME"])
    numbers = {
        name: _numbers(name, texts[name], lines, source) for name in _COLUMNS if name != "NAME"
    }
    size, *reals = (
        np.stack([numbers[name] for name in together], axis=1) for together in (_SIZE, *_REALS)
    )
    for complaint in (*_name_complaints(names), *_size_complaints(size)):
        complaint.raise_first(lines, source)
    table = SkycellTable(names, size.astype(np.int64), *reals)
    for complaint in _wcs_complaints(table):
        complaint.raise_first(lines, source)
    return table.take(np.argsort(names, kind="stable"))


def _read_text(content: bytes | str | Path) -> tuple[str, str]:
    """Return the catalogue's name for messages, and its text."""
    source = "the skycell catalogue"
    if not isinstance(content, bytes):
        source = f"the skycell catalogue {content}"
        try:
            content = Path(content).read_bytes()
        except OSError as error:
            raise GeometryError(f"can't read {source}: {error.strerror}") from error
    try:
        return source, content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise GeometryError(
            f"{source} is not text (byte {error.start} is not UTF-8): give a CSV file"
        ) from error


def _rows(text: str, source: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the line number and the values of `_COLUMNS` of every row."""
    reader = csv.reader(io.StringIO(text), strict=True)
    header = [_canonical(name) for name in next(reader, [])]
    if not header:
        raise GeometryError(f"{source} is empty: give a CSV file with {', '.join(_COLUMNS)}")
    for name in _COLUMNS:
        if header.count(name) != 1:
            raise GeometryError(
                f"{source} has {header.count(name)} columns {name}: each of "
                f"{', '.join(_COLUMNS)} is needed once"
            )
    places = [header.index(name) for name in _COLUMNS]
    for row in reader:
        if not row:
            continue
        if len(row) != len(header):
            raise GeometryError(
                f"{source}, row {reader.line_num}: {len(row)} values where the header names "
                f"{len(header)} columns"
            )
        yield reader.line_num, [row[place].strip() for place in places]


def _canonical(name: str) -> str:
    """Return a column's name as we spell it: PC00i00j becomes PCi_j."""
    return re.sub(r"^PC00([12])00([12])$", r"PC\1_\2", name.strip().upper())


def _numbers(name: str, texts: Sequence[str], lines: list[int], source: str) -> Floats:
    """Return a column as numbers; raise for the first value that isn't one."""
    values = np.array([_number(text) for text in texts])
    allowed = "is not a finite number"
    _Complaint(name, ~np.isfinite(values), texts, allowed).raise_first(lines, source)
    return values


def _number(text: str) -> float:
    """Return the number that a text spells, NaN if none."""
    try:
        return float(text)
    except ValueError:
        return float("nan")


@dataclass(frozen=True, eq=False)
class _Complaint:
    """What may be wrong with a column: which rows are, their values, what is allowed."""

    column: str
    is_wrong: NDArray[np.bool_]
    values: Sequence[str] | NDArray[Any]
    allowed: str

    def raise_first(self, lines: list[int], source: str) -> None:
        """Raise for the first wrong row, if there is one."""
        if not self.is_wrong.any():
            return
        row = int(self.is_wrong.argmax())
        value = self.values[row]
        plain = value if isinstance(value, str) else value.tolist()
        raise GeometryError(
            f"{source}, row {lines[row]}, column {self.column}: {plain!r} {self.allowed}"
        )


def _name_complaints(names: NDArray[np.str_]) -> Iterator[_Complaint]:
    """Yield what can be wrong with names."""
    plain = [str(name) for name in names]
    unsafe = np.array([SAFE_NAME.fullmatch(name) is None for name in plain])
    yield _Complaint(
        "NAME",
        unsafe,
        plain,
        "is not a skycell name: give letters, digits, '-' and '_' in parts joined by single dots, "
        "such as skycell.2556.082",
    )
    again = np.ones(len(names), dtype=bool)
    again[np.unique(names, return_index=True)[1]] = False
    yield _Complaint("NAME", again, plain, "is there twice: names must be unique")


def _size_complaints(size: Floats) -> Iterator[_Complaint]:
    """Yield what can be wrong with sizes."""
    for axis, name in enumerate(_SIZE):
        given = size[:, axis]
        wrong = (given < 1) | (given > MAX_SIZE_PX) | (given % 1 != 0)
        yield _Complaint(name, wrong, given, f"is not a size: give 1 to {MAX_SIZE_PX} pixels")


def _wcs_complaints(table: SkycellTable) -> Iterator[_Complaint]:
    """Yield what can be wrong with the WCS columns."""
    for axis, limit in enumerate((360.0, 90.0)):
        given = table.crval[:, axis]
        yield _Complaint(
            _REALS[0][axis],
            np.abs(given) > limit,
            given,
            f"is out of range: give degrees from {-limit:g} to {limit:g}",
        )
    matrix = (table.cdelt[:, :, None] * table.pc.reshape(-1, 2, 2)) * 3600 / PS1_PIXEL_ARCSEC
    departure = np.abs(matrix @ matrix.transpose(0, 2, 1) - np.eye(2)).max(axis=(1, 2))
    yield _Complaint(
        "CDELT and PC",
        departure > 2 * SCALE_TOLERANCE,
        np.concatenate([table.cdelt, table.pc], axis=1),
        f"are not square pixels of {PS1_PIXEL_ARCSEC} arcsec (CDELT1, CDELT2, PC1_1, PC1_2, PC2_1, "
        "PC2_2): only those are supported",
    )
    reach = corner_pixels(table.size) + 1.0 - table.crpix[:, None]
    far = np.linalg.norm(reach, axis=2).max(axis=1) * PS1_PIXEL_ARCSEC / 3600 > MAX_REACH_DEG
    yield _Complaint(
        "CRPIX1 and CRPIX2",
        far,
        table.crpix,
        f"put a corner farther than {MAX_REACH_DEG:g} deg from the tangent point: pixels there are "
        f"no longer {PS1_PIXEL_ARCSEC} arcsec wide on the sky",
    )
