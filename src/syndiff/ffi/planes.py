"""Which HDU of an FFI is the image, which its uncertainty, and what a file is that has none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from syndiff.errors import ObservationError
from syndiff.ffi.header_cards import REMEDY, card_value

if TYPE_CHECKING:
    from collections.abc import Iterable

    from astropy.io.fits import Header

__all__ = ["FFI_SHAPE", "Planes", "find_planes", "kind_of_plane"]

FFI_SHAPE = (2078, 2136)
"""Rows and columns of an FFI: 2048 x 2048 science pixels and the collateral ones around them."""

_KINDS = {
    "cal": {"cal", "calibrated", "image", "sci", "science"},
    "uncert": {"uncert", "uncertainty", "err", "error", "sigma"},
}
_TILES = "COMPRESSED_IMAGE"
# What compressed images are called that had no name.


@dataclass(frozen=True)
class Planes:
    """The images of an FFI.

    Parameters
    ----------
    image : int
        HDU of the calibrated image.
    uncertainty : int or None
        HDU of its uncertainty; None where the file has none.
    is_named : bool
        Whether the uncertainty's header says that it is one; where it doesn't, it is the image
        after the calibrated one.
    """

    image: int
    uncertainty: int | None
    is_named: bool = True


def kind_of_plane(header: Header) -> str:
    """Return what an image's header says that it holds.

    Parameters
    ----------
    header : Header
        Of an image.

    Returns
    -------
    str
        ``"cal"``, ``"uncert"``, or another word in lower case; empty where it says nothing.
    """
    for keyword in ("IMAGTYPE", "EXTNAME"):
        value = card_value(header, keyword)
        if isinstance(value, str) and value.strip() and value.strip().upper() != _TILES:
            word = value.split()[-1].lower()
            if word == "primary":
                continue
            return next((kind for kind, words in _KINDS.items() if word in words), word)
    return ""


def find_planes(source: str, headers: list[Header]) -> Planes:
    """Return which HDUs hold an FFI's images.

    Parameters
    ----------
    source : str
        What to call the file.
    headers : list of Header
        Of all HDUs.

    Returns
    -------
    Planes
        Their numbers.

    Raises
    ------
    ObservationError
        If there is no image of an FFI's size, or the headers don't tell which one it is.
    """
    kinds = {n: kind_of_plane(h) for n, h in enumerate(headers) if _size(h)}
    whole = [n for n in kinds if _size(headers[n]) == FFI_SHAPE[::-1]]
    images = [n for n in whole if kinds[n] == "cal"] or [n for n in whole if kinds[n] != "uncert"]
    uncertain = [n for n in kinds if kinds[n] == "uncert"]
    if not images:
        raise _without_image(source, headers, [n for n in whole if n in uncertain])
    if len(images) > 1 and kinds[images[0]]:
        raise _ambiguous(source, "calibrated image", images, headers)
    if len(uncertain) > 1:
        raise _ambiguous(source, "uncertainty", uncertain, headers)
    after = images[0] + 1
    if not uncertain and after in whole and not kinds[after]:
        return Planes(images[0], after, is_named=False)
    return Planes(images[0], uncertain[0] if uncertain else None)


def _size(header: Header) -> tuple[int, ...]:
    """Return the axes of an image of two dimensions; nothing for any other HDU."""
    is_image = str(header.get("XTENSION", "IMAGE")).strip() == "IMAGE"
    return (header["NAXIS1"], header["NAXIS2"]) if is_image and header.get("NAXIS") == 2 else ()


def _ambiguous(
    source: str, what: str, numbers: Iterable[int], headers: list[Header]
) -> ObservationError:
    named = ", ".join(_describe(n, headers[n]) for n in numbers)
    return ObservationError(
        f"{source} doesn't tell which HDU is the {what} (IMAGTYPE or EXTNAME, 'cal' and 'uncert'): "
        f"{named}: {REMEDY}"
    )


def _without_image(source: str, headers: list[Header], lone: list[int]) -> ObservationError:
    """Return the error for a file without an image of an FFI's size, with what it holds."""
    held = ", ".join(_describe(n, header) for n, header in enumerate(headers))
    columns, rows = FFI_SHAPE[1], FFI_SHAPE[0]
    if any(_is_pixel_table(header) for header in headers):
        reason = "target pixel files and TESScut cutouts are not FFIs"
    elif any(_size(header) and kind_of_plane(header) != "uncert" for header in headers):
        reason = "cutouts and trimmed images are not FFIs"
    elif lone:
        reason = f"HDU {lone[0]} is an uncertainty, and its image is not there"
    else:
        reason = "it is no FFI"
    lost = card_value(headers[0], "NEXTEND")
    if isinstance(lost, int) and lost >= len(headers):
        reason += f"; NEXTEND is {lost}, so part of the file is lost"
    return ObservationError(
        f"{source} holds no image of {columns} x {rows} pixels ({held}): {reason}: {REMEDY}"
    )


def _is_pixel_table(header: Header) -> bool:
    """Tell whether a table holds images of a target, one a row."""
    columns = {card_value(header, f"TTYPE{n}") for n in range(1, int(header.get("TFIELDS", 0)) + 1)}
    return {"FLUX", "TIME"} <= columns and any("TDIM" in key for key in header)


def _describe(number: int, header: Header) -> str:
    """Return what an HDU is, in words."""
    name = card_value(header, "EXTNAME")
    called = f" {name.strip()!r}" if isinstance(name, str) and name.strip() != _TILES else ""
    if "TABLE" in str(header.get("XTENSION", "")):
        return f"HDU {number}{called}: a table"
    axes = [header.get(f"NAXIS{n}") for n in range(1, int(header.get("NAXIS", 0)) + 1)]
    if not axes:
        return f"HDU {number}{called}: empty"
    return f"HDU {number}{called}: {' x '.join(str(axis) for axis in axes)} pixels"
