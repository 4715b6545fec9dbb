"""The mapping's files: the list of skycells, the master map and one map per skycell."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import zlib
from typing import TYPE_CHECKING

import numpy as np

from syndiff.errors import GeometryError, MissingInputError, ObservationError
from syndiff.ffi.observation import Frame
from syndiff.kernels.lattice import CELL_PX, index_cells
from syndiff.sky.footprint_files import direction_to_sky, write_footprint
from syndiff.sky.mapping import Mapping, Member, Reference
from syndiff.sky.pixelmap import LATTICE_STEP_PX, Lattice, PixelMap
from syndiff.sky.tessellation import Skycell, Tessellation
from syndiff.storage.checked_cards import CheckedCards
from syndiff.storage.locks import locked
from syndiff.window import Window

if TYPE_CHECKING:
    from astropy.io import fits
    from numpy.typing import NDArray

    from syndiff.layout import Layout
    from syndiff.storage.place import Place

__all__ = [
    "index_skycell",
    "read_mapping",
    "read_unlocked",
    "remove_mapping",
    "write_mapping",
    "write_skycell_map",
]

FORMAT_VERSION = 2
"""Of the master map and the list; raised when what is read back changes."""

COLUMNS = (
    *("NAME", "ROLE", "PROJECTION", "NAXIS1", "NAXIS2", "CRVAL1", "CRVAL2", "CRPIX1", "CRPIX2"),
    *("CDELT1", "CDELT2", "PC1_1", "PC1_2", "PC2_1", "PC2_2", "RA", "DEC", "SHARED_PX"),
    *("X0", "Y0", "X1", "Y1"),
)
"""Columns of the list of skycells, which is a skycell catalogue too."""

GZIP_LEVEL = 4
"""A full-size skycell's map: 0.33 MB in 32 ms; 0.42 MB in 27 ms at level 1, 0.30 in 62 at 6."""

_DAMAGE = (GeometryError, ObservationError, OSError, EOFError, zlib.error, ValueError, KeyError)
"""What reading a file that was cut short or edited raises; ValueError is also ConfigError."""


def index_skycell(skycell: Skycell, frame: Frame) -> tuple[NDArray[np.int32], Lattice]:
    """Return the FFI pixel that holds the centre of each of a skycell's 2" cells.

    Parameters
    ----------
    skycell : Skycell
        The PS1 pixel grid; its cells cover 8 x 8 pixels, the last ones may extend beyond them.
    frame : Frame
        The FFI's pixel grid.

    Returns
    -------
    index : (ceil(ny / 8), ceil(nx / 8)) int32
        ``row * columns of the FFI array + column``; -1 outside the science window.
    lattice : Lattice
        The positions that it comes from.
    """
    lattice = PixelMap.between(skycell, frame).lattice()
    out = np.empty((-(-skycell.ny // CELL_PX), -(-skycell.nx // CELL_PX)), dtype=np.int32)
    science = frame.science
    window = np.array([science.x0, science.y0, science.x1, science.y1, frame.shape[1]])
    index_cells(lattice.x, lattice.y, LATTICE_STEP_PX // CELL_PX, window, out)
    return out, lattice


def write_skycell_map(skycell: Skycell, frame: Frame, place: Place) -> None:
    """Write one skycell's map: `index_skycell` and the lattice of positions.

    Parameters
    ----------
    skycell : Skycell
        The PS1 pixel grid.
    frame : Frame
        The FFI's pixel grid.
    place : Place
        `Layout.skycell_map` of the skycell.

    Raises
    ------
    StorageError
        If the file can't be written.
    """
    from astropy.io import fits

    index, lattice = index_skycell(skycell, frame)
    image = fits.PrimaryHDU(index)
    image.header.extend(_detector_cards(frame) + _cell_cards(skycell))
    nodes = fits.ImageHDU(np.stack([lattice.x, lattice.y]), name="LATTICE")
    nodes.header["LSTEP"] = (lattice.step, "PS1 pixels between nodes; the first is pixel 0")
    nodes.header.add_comment("Planes: column, row in the FFI array, 0-based; NaN far off the CCD")
    place.write(_pack(image, nodes))


def write_mapping(mapping: Mapping, layout: Layout) -> None:
    """Write the footprint, the master map and, last, the list of skycells that completes them.

    Call it when every `write_skycell_map` is done, holding the lock of `Layout.mapping`.

    Parameters
    ----------
    mapping : Mapping
        What to write.
    layout : Layout
        Where to.

    Raises
    ------
    StorageError
        If a file can't be written.
    """
    rows = _format_list(mapping.members)
    # A list and a master map of two mappings would count as damaged.
    layout.skycell_list.remove()
    write_footprint(mapping, layout)
    layout.master_map.write(_pack(*_master_hdus(mapping, rows)))
    layout.skycell_list.write(rows)


def remove_mapping(layout: Layout) -> None:
    """Remove a mapping, its mark of completeness first.

    Parameters
    ----------
    layout : Layout
        Where it is; it need not be.

    Raises
    ------
    StorageError
        If a file can't be removed.
    """
    layout.skycell_list.remove()
    layout.mapping.remove()


def read_mapping(layout: Layout) -> Mapping:
    """Read what `write_mapping` wrote.

    Parameters
    ----------
    layout : Layout
        Where it is.

    Returns
    -------
    Mapping
        Equal to the one written, every digit of its WCSs included.

    Raises
    ------
    MissingInputError
        If the mapping isn't there or isn't complete.
    GeometryError
        If a file is damaged, or they don't belong together.
    """
    try:
        return read_unlocked(layout)
    except (MissingInputError, GeometryError):
        if next(iter(layout.mapping.walk()), None) is None:
            raise
    # Another run may be writing it just now, for another region.
    with locked(layout.mapping, to_read=True):
        return read_unlocked(layout)


def read_unlocked(layout: Layout) -> Mapping:
    """Read a mapping while the caller holds its lock.

    Parameters
    ----------
    layout : Layout
        Where it is.

    Returns
    -------
    Mapping
        As `read_mapping` returns it.

    Raises
    ------
    MissingInputError, GeometryError
        As `read_mapping` does.
    """
    for place in (layout.skycell_list, layout.master_map):
        if not place.exists():
            raise MissingInputError(
                f"{place} is not there: make the mapping of {layout.detector} first with "
                "`syndiff mapping <FFI>`"
            )
    rows = layout.skycell_list.read()
    packed = layout.master_map.read()
    try:
        cards, owners = _open_master(packed, layout)
        version = cards.integer("MAPVERS")
        if version == FORMAT_VERSION:
            return _parse_master(cards, owners, rows, layout)
    except _DAMAGE as error:
        raise GeometryError(
            f"{layout.skycell_list} or {layout.master_map} is damaged ({error}): make both again "
            "with `syndiff mapping <FFI>` and `overwrite`"
        ) from error
    raise GeometryError(
        f"the mapping {layout.mapping} has format {version}, this version reads {FORMAT_VERSION}: "
        "map again with `syndiff mapping <FFI>` and `overwrite`"
    )


def _pack(*hdus: fits.PrimaryHDU | fits.ImageHDU | fits.BinTableHDU) -> bytes:
    """Return the bytes of a FITS.gz file, the same ones for the same content."""
    from astropy.io import fits

    for hdu in hdus:
        hdu.add_checksum(when="of this HDU")
    buffer = io.BytesIO()
    fits.HDUList(list(hdus)).writeto(buffer)
    return gzip.compress(buffer.getbuffer(), GZIP_LEVEL, mtime=0)


def _detector_cards(frame: Frame) -> list[tuple[str, str | int, str]]:
    """Return the cards that say which pixels of which CCD an index counts."""
    d, w = frame.detector, frame.science
    return [
        ("TELESCOP", "TESS", ""),
        ("SECTOR", d.sector, ""),
        ("CAMERA", d.camera, ""),
        ("CCD", d.ccd, ""),
        ("FFINX", frame.shape[1], "columns of the FFI array"),
        ("FFINY", frame.shape[0], "rows of the FFI array"),
        ("SCIX0", w.x0, "science window: first column, 0-based"),
        ("SCIY0", w.y0, "first row, 0-based"),
        ("SCIX1", w.x1, "one past the last column"),
        ("SCIY1", w.y1, "one past the last row"),
        ("FRAMEDIG", frame.digest, "digest of the FFI's pixel grid"),
    ]


def _cell_cards(skycell: Skycell) -> list[tuple[str, str | float, str]]:
    """Return name, size and WCS of a skycell's 2" cells (CRPIX is 1-based)."""
    crpix = [(value - 0.5) / CELL_PX + 0.5 for value in skycell.crpix]
    names = ("PC1_1", "PC1_2", "PC2_1", "PC2_2")
    return [
        ("SKYCELL", skycell.name, ""),
        ("SKYNX", skycell.nx, "PS1 pixels"),
        ("SKYNY", skycell.ny, "PS1 pixels"),
        ("CELLPX", CELL_PX, "PS1 pixels on a side of a cell, a pixel here"),
        ("CTYPE1", "RA---TAN", ""),
        ("CTYPE2", "DEC--TAN", ""),
        ("RADESYS", "ICRS", ""),
        ("CRVAL1", skycell.crval[0], "[deg]"),
        ("CRVAL2", skycell.crval[1], "[deg]"),
        ("CRPIX1", crpix[0], ""),
        ("CRPIX2", crpix[1], ""),
        ("CDELT1", skycell.cdelt[0] * CELL_PX, "[deg]"),
        ("CDELT2", skycell.cdelt[1] * CELL_PX, "[deg]"),
        *((name, value, "") for name, value in zip(names, skycell.pc, strict=True)),
        ("LONPOLE", 180.0, "[deg]"),
        ("COMMENT", "Value: row * FFINX + column of the FFI array, 0-based; -1 off the window", ""),
    ]


def _master_hdus(mapping: Mapping, rows: bytes) -> tuple[fits.PrimaryHDU, fits.BinTableHDU]:
    """Return the image of owners and the table of their names."""
    from astropy.io import fits

    image = fits.PrimaryHDU(mapping.owners)
    reference = mapping.reference
    image.header.extend(mapping.frame.header())
    image.header.extend(_detector_cards(mapping.frame))
    image.header["FFINAME"] = reference.name
    image.header["FFIKIND"] = reference.kind
    image.header["DATE-OBS"] = (reference.date_obs, "of the FFI")
    image.header["DATE-END"] = reference.date_end
    image.header["MARGIN"] = (mapping.margin_px, "TESS pixels around the mapped window")
    window = mapping.window
    image.header["MAPX0"] = (window.x0, "mapped window: first column, 0-based")
    image.header["MAPY0"] = (window.y0, "first row, 0-based")
    image.header["MAPX1"] = (window.x1, "one past the last column")
    image.header["MAPY1"] = (window.y1, "one past the last row")
    image.header["TESSEDIG"] = (mapping.tessellation_digest, "digest of the tessellation")
    image.header["LISTDIG"] = (_list_digest(rows), "digest of the list of skycells")
    image.header["MAPVERS"] = (FORMAT_VERSION, "version of this format")
    image.header.add_comment("Value: INDEX of the skycell with the largest weight; -1: none")
    names = [member.skycell.name for member in mapping.members]
    index = np.arange(len(names), dtype=np.int32)
    width = max(map(len, names))
    table = fits.BinTableHDU.from_columns(
        [fits.Column("INDEX", "J", array=index), fits.Column("NAME", f"{width}A", array=names)],
        name="SKYCELLS",
    )
    return image, table


def _list_digest(rows: bytes) -> str:
    return hashlib.sha256(rows).hexdigest()[:16]


def _format_list(members: tuple[Member, ...]) -> bytes:
    """Return the list of skycells; floats in the shortest form that reads back the same."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for member in members:
        cell, box = member.skycell, member.window
        middle = np.array([[(cell.nx - 1) / 2, (cell.ny - 1) / 2, 1.0]])
        ra, dec = direction_to_sky(middle @ cell.pixel_to_direction.T)
        numbers = [*cell.crval, *cell.crpix, *cell.cdelt, *cell.pc, *ra, *dec, member.shared_px]
        writer.writerow(
            [cell.name, member.role, cell.projection_cell, cell.nx, cell.ny]
            + [repr(float(number)) for number in numbers]
            + [box.x0, box.y0, box.x1, box.y1]
        )
    return text.getvalue().encode()


def _parse_list(rows: bytes) -> tuple[Member, ...]:
    """Return the members that `_format_list` wrote."""
    tessellation = Tessellation.from_csv(rows)
    return tuple(
        Member(
            tessellation[row["NAME"]],
            "science" if row["ROLE"] == "science" else "margin",
            float(row["SHARED_PX"]),
            Window(*(int(row[name]) for name in ("X0", "Y0", "X1", "Y1"))),
        )
        for row in csv.DictReader(io.StringIO(rows.decode()))
    )


class _MasterCards(CheckedCards):
    """The header of a master map."""

    error = GeometryError
    remedy = "it was changed or damaged"


def _open_master(packed: bytes, layout: Layout) -> tuple[_MasterCards, NDArray[np.int32]]:
    """Return header and pixels of a master map."""
    from astropy.io import fits

    with fits.open(io.BytesIO(gzip.decompress(packed)), memmap=False) as hdus:
        cards = _MasterCards(layout.master_map.name, {0: hdus[0].header})
        return cards, np.asarray(hdus[0].data, dtype=np.int32)


def _parse_master(
    cards: _MasterCards, owners: NDArray[np.int32], rows: bytes, layout: Layout
) -> Mapping:
    """Return the mapping; errors of its parts are passed on."""
    if cards.text("LISTDIG") != _list_digest(rows):
        raise GeometryError("the list of skycells is not the one that the master map was made with")
    science = Window(*(cards.integer(name) for name in ("SCIX0", "SCIY0", "SCIX1", "SCIY1")))
    frame = Frame.from_header(cards.headers[0], layout.detector, owners.shape, science)
    if frame.digest != cards.text("FRAMEDIG"):
        raise GeometryError(f"its header is not that of {layout.detector} as it was written")
    reference = Reference(
        *(cards.text(name) for name in ("FFINAME", "FFIKIND", "DATE-OBS", "DATE-END"))
    )
    window = Window(*(cards.integer(name) for name in ("MAPX0", "MAPY0", "MAPX1", "MAPY1")))
    if not science.contains(window):
        raise GeometryError(f"it says that the pixels {window} are mapped, outside of {science}")
    digest, margin_px = cards.text("TESSEDIG"), cards.integer("MARGIN")
    return Mapping(frame, _parse_list(rows), digest, margin_px, reference, window, owners)
