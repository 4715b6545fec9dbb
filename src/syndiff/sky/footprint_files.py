"""The footprint of a CCD for DS9 (regions) and Aladin (a multi-order coverage map)."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from syndiff.sky.skycell_table import corner_pixels

if TYPE_CHECKING:
    from syndiff.layout import Layout
    from syndiff.sky.mapping import Mapping
    from syndiff.sky.tessellation import Skycell

__all__ = ["direction_to_sky", "write_footprint"]

FloatArray = NDArray[np.float64]

MOC_ORDER = 12
"""HEALPix order of the coverage map: cells of 52", 2.5 TESS pixels."""

_REGION_HEADER = """# Region file format: DS9 version 4.1
global font="helvetica 9 normal roman" width=1 select=1 edit=0 move=0 delete=1
icrs
"""
_COLOURS = {"science": "green", "margin": "yellow"}


def write_footprint(mapping: Mapping, layout: Layout) -> None:
    """Write the outlines of the mapped pixels and of all their skycells.

    Parameters
    ----------
    mapping : Mapping
        The frame and its skycells.
    layout : Layout
        Where `Layout.regions` and `Layout.moc` are.

    Raises
    ------
    StorageError
        If a file can't be written.
    """
    frame = mapping.frame
    outline = frame.footprint(window=mapping.window)
    name = str(frame.detector)
    if mapping.window != frame.science:
        name += f" pixels {mapping.window}"
    lines = [_polygon(outline, name, "red")]
    lines += [
        _polygon(_corners(member.skycell), member.skycell.name, _COLOURS[member.role])
        for member in mapping.members
    ]
    layout.regions.write((_REGION_HEADER + "\n".join(lines) + "\n").encode())
    layout.moc.write(_coverage_map(outline))


def direction_to_sky(directions: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return where directions point.

    Parameters
    ----------
    directions : (n, 3) float64
        Vectors of any length.

    Returns
    -------
    ra_deg, dec_deg : (n,) float64
        ICRS; RA in 0..360.
    """
    x, y, z = directions.T
    return np.rad2deg(np.arctan2(y, x)) % 360.0, np.rad2deg(np.arctan2(z, np.hypot(x, y)))


def _corners(skycell: Skycell) -> FloatArray:
    """Return the directions (4, 3) of a skycell's outer corners."""
    pixels = corner_pixels(np.array([[skycell.nx, skycell.ny]]))[0]
    homogeneous = np.column_stack([pixels, np.ones(4)])
    return np.asarray(homogeneous @ skycell.pixel_to_direction.T)


def _polygon(directions: FloatArray, name: str, colour: str) -> str:
    """Return a DS9 polygon."""
    places = np.column_stack(direction_to_sky(directions)).ravel()
    numbers = ",".join(f"{value:.7f}" for value in places)
    return f"polygon({numbers}) # color={colour} text={{{name}}}"


def _coverage_map(outline: FloatArray) -> bytes:
    """Return the FITS file of the multi-order coverage map inside an outline."""
    from astropy import units as u
    from mocpy import MOC

    ra, dec = direction_to_sky(outline)
    moc = MOC.from_polygon(ra * u.deg, dec * u.deg, max_depth=MOC_ORDER)
    buffer = io.BytesIO()
    moc.serialize("fits").writeto(buffer)
    return buffer.getvalue()
