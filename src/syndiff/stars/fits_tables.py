"""FITS files that hold a table: what their headers promise is checked before astropy reads."""

from __future__ import annotations

import io
import math
import re
from typing import TYPE_CHECKING

from syndiff.constants import FITS_BLOCK

if TYPE_CHECKING:
    from collections.abc import Iterator

    from astropy.table import Table

__all__ = ["read_fits_table"]

_CARD = 80
_MOST_AXES = 999
_MOST_COLUMNS = 999
# Both from the FITS standard.
_WIDTHS = {"L": 1, "B": 1, "I": 2, "J": 4, "K": 8, "A": 1, "E": 4, "D": 8, "C": 8, "M": 16}
_DESCRIPTORS = {"P": 8, "Q": 16}


def read_fits_table(content: bytes) -> Table:
    """Return the first table of a FITS file.

    Parameters
    ----------
    content : bytes
        The whole file.

    Returns
    -------
    Table
        As astropy reads it.

    Raises
    ------
    ValueError
        If the file is cut short, holds no table, or its header can't be right.

    Notes
    -----
    astropy loops over as many columns as a header claims, and takes rows for what it claims: a
    damaged one keeps it busy for hours, or gives numbers from the wrong bytes.
    """
    from astropy.table import Table

    if not content.startswith(b"SIMPLE  ="):
        raise ValueError("it doesn't start as a FITS file does")
    kinds = [_kind(header) for header in _headers(content)]
    if "table" not in kinds:
        raise ValueError(f"it holds {' and '.join(sorted(set(kinds)))}, no table")
    return Table.read(io.BytesIO(content), format="fits", hdu=kinds.index("table"))


def _kind(header: dict[str, str]) -> str:
    """Return what an HDU holds, and check a table's columns."""
    if header.get("XTENSION") not in {"BINTABLE", "TABLE"}:
        return "an image" if _integer(header, "NAXIS", 0, _MOST_AXES) else "an empty part"
    if header.get("ZIMAGE") == "T":
        return "an image"
    columns = _integer(header, "TFIELDS", 0, _MOST_COLUMNS)
    if header["XTENSION"] == "BINTABLE":
        width = sum(_width(header.get(f"TFORM{i}", "")) for i in range(1, columns + 1))
        if width != int(header["NAXIS1"]):
            raise ValueError(
                f"its header is damaged: a row has {header['NAXIS1']} bytes and its columns {width}"
            )
    return "table" if columns else "an empty part"


def _width(form: str) -> int:
    """Return the bytes that a column takes in a row."""
    found = re.fullmatch(r"(\d*)([LXBIJKAEDCMPQ]).*", form)
    if found is None:
        raise ValueError(f"its header is damaged: {form!r} is no form of a column")
    count = int(found[1] or 1)
    if found[2] == "X":
        return math.ceil(count / 8)
    if found[2] in _DESCRIPTORS:
        return count * _DESCRIPTORS[found[2]]
    return count * _WIDTHS[found[2]]


def _headers(content: bytes) -> Iterator[dict[str, str]]:
    """Yield the cards of each HDU, and check that its data are there."""
    start = 0
    while start < len(content) and content[start : start + FITS_BLOCK].strip(b"\0 "):
        header, start = _header(content, start)
        size = _data_bytes(header)
        if start + size > len(content):
            raise ValueError(
                f"it is cut short or damaged: its header states {start + size} bytes, and it has "
                f"{len(content)}"
            )
        start += -(-size // FITS_BLOCK) * FITS_BLOCK
        yield header


def _header(content: bytes, start: int) -> tuple[dict[str, str], int]:
    """Return the cards of a header, and where its data start."""
    cards: dict[str, str] = {}
    for place in range(start, len(content) - _CARD + 1, _CARD):
        card = content[place : place + _CARD]
        if card.rstrip() == b"END":
            return cards, start + (-(-(place + _CARD - start) // FITS_BLOCK)) * FITS_BLOCK
        if card[8:10] == b"= ":
            text = card[10:].decode("ascii", "replace")
            quoted = re.match(r"\s*'([^']*)'", text)
            value = quoted[1] if quoted else text.partition("/")[0]
            cards[card[:8].decode("ascii", "replace").strip()] = value.strip()
    raise ValueError("it is cut short or damaged: a header has no END")


def _data_bytes(header: dict[str, str]) -> int:
    """Return how many bytes of data follow a header."""
    axes = _integer(header, "NAXIS", 0, _MOST_AXES)
    if not axes:
        return 0
    sizes = [_integer(header, f"NAXIS{i}", 0) for i in range(1, axes + 1)]
    bits = abs(_integer(header, "BITPIX", -64, 64))
    extra = _integer(header, "PCOUNT", 0) if "PCOUNT" in header else 0
    groups = _integer(header, "GCOUNT", 1) if "GCOUNT" in header else 1
    return bits // 8 * groups * (extra + math.prod(sizes))


def _integer(header: dict[str, str], key: str, low: int, high: int | None = None) -> int:
    """Return a card's whole number, if it can be one."""
    text = header.get(key, "nothing")
    is_number = re.fullmatch(r"[+-]?\d{1,18}", text) is not None
    if not is_number or int(text) < low or (high is not None and int(text) > high):
        raise ValueError(f"its header is damaged: {key} is {text}")
    return int(text)
