"""All skycells of a tessellation as arrays; those of RINGS.V3 by rule."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, fields
from importlib import resources

import numpy as np
from numpy.typing import NDArray

from syndiff.config import PS1_PIXEL_ARCSEC

__all__ = ["SkycellTable", "corner_pixels", "pixel_to_direction", "rings_v3_table"]

Floats = NDArray[np.float64]

RINGS_OVERLAP_PX = 480
"""Neighbouring skycells of one RINGS.V3 projection cell share this many pixels."""

RINGS_SIDE = 10
"""Skycells along each side of a RINGS.V3 projection cell."""

RINGS_CDELT_DEG = float(np.float32(PS1_PIXEL_ARCSEC / 3600))
"""Pixel scale that the survey's headers carry: single precision."""


@dataclass(frozen=True, eq=False)
class SkycellTable:
    """Names and WCS of skycells, one row each, sorted by name.

    Parameters
    ----------
    names : (n,) str
        Names, ascending.
    size : (n, 2) int64
        Pixels in x and y.
    crval, crpix, cdelt : (n, 2) float64
        FITS keywords: degrees, pixels (1-based), degrees per pixel.
    pc : (n, 4) float64
        PC1_1, PC1_2, PC2_1, PC2_2.
    """

    names: NDArray[np.str_]
    size: NDArray[np.int64]
    crval: Floats
    crpix: Floats
    cdelt: Floats
    pc: Floats

    def __len__(self) -> int:
        return len(self.names)

    def take(self, rows: NDArray[np.intp]) -> SkycellTable:
        """Return the table of some rows.

        Parameters
        ----------
        rows : (k,) int
            Row numbers, in the order wanted.

        Returns
        -------
        SkycellTable
            Copies of the rows.
        """
        return SkycellTable(*(getattr(self, column.name)[rows] for column in fields(self)))


def pixel_to_direction(table: SkycellTable) -> Floats:
    """Return the matrices from pixels to directions on the sky.

    Parameters
    ----------
    table : SkycellTable
        n skycells.

    Returns
    -------
    (n, 3, 3) float64
        ``matrix @ (x, y, 1)``, with 0-based x, y, points to the pixel (not of unit length).

    Notes
    -----
    Gnomonic projection with LONPOLE = 180 (Calabretta & Greisen 2002, A&A 395, 1077, section
    5.1.3): the direction is ``xi E + eta N + R``, with E, N and R the east, north and outward unit
    vectors at CRVAL.
    """
    ra, dec = np.deg2rad(table.crval).T
    zero = np.zeros_like(ra)
    east = np.stack([-np.sin(ra), np.cos(ra), zero], axis=1)
    north = np.stack([-np.sin(dec) * np.cos(ra), -np.sin(dec) * np.sin(ra), np.cos(dec)], axis=1)
    out = np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=1)
    to_plane = np.zeros((len(table), 3, 3))
    to_plane[:, :2, :2] = np.deg2rad(table.cdelt[:, :, None] * table.pc.reshape(-1, 2, 2))
    origin = 1.0 - table.crpix
    to_plane[:, :2, 2] = np.einsum("nij,nj->ni", to_plane[:, :2, :2], origin)
    to_plane[:, 2, 2] = 1.0
    return np.asarray(np.stack([east, north, out], axis=2) @ to_plane)


def corner_pixels(size: NDArray[np.int64]) -> Floats:
    """Return the outer corners of skycells in their own pixels.

    Parameters
    ----------
    size : (n, 2) int64
        Pixels in x and y.

    Returns
    -------
    (n, 4, 2) float64
        0-based x, y of the corners in order, from (-0.5, -0.5).
    """
    unit = np.array([[0, 0], [1, 0], [1, 1], [0, 1]])
    return np.asarray(unit * size[:, None, :] - 0.5)


def rings_v3_table() -> SkycellTable:
    """Return the 215,700 skycells of RINGS.V3 from its 33 rings of projection cells.

    Returns
    -------
    SkycellTable
        The skycells, sorted by name.

    Notes
    -----
    Sub-cell s of a projection cell is in row s // 10 (northward) and column s % 10 (westward).
    CRVAL1 is single precision, as in the survey's own headers (up to 6.5e-6 deg from i * 360/n).
    """
    text = (resources.files("syndiff") / "data" / "rings_v3_zones.csv").read_text()
    zones = list(csv.DictReader(io.StringIO(text)))
    columns = zip(*map(_projection_cells, range(len(zones)), zones), strict=True)
    number, crval1, zone = (np.concatenate(column) for column in columns)
    dec, nx, ny, crpix1, crpix2 = (
        np.array([float(row[key]) for row in zones])[zone]
        for key in ("dec_deg", "nx_px", "ny_px", "crpix1", "crpix2")
    )
    row, column = np.divmod(np.arange(RINGS_SIDE**2), RINGS_SIDE)
    middle = RINGS_SIDE // 2
    each = len(row)
    size = np.stack([nx, ny], axis=1).astype(np.int64)
    steps = np.stack([middle - column, middle - row], axis=1)
    first = np.stack([crpix1, crpix2], axis=1)
    crpix = first[:, None] + steps * (size - RINGS_OVERLAP_PX)[:, None]
    n = each * len(number)
    return SkycellTable(
        np.array([f"skycell.{cell:04d}.{sub:03d}" for cell in number for sub in range(each)]),
        size.repeat(each, axis=0),
        np.stack([crval1, dec], axis=1).repeat(each, axis=0),
        crpix.reshape(-1, 2).astype(np.float64),
        np.full((n, 2), RINGS_CDELT_DEG),
        np.tile([-1.0, 0.0, 0.0, 1.0], (n, 1)),
    )


def _projection_cells(
    ring: int, zone: dict[str, str]
) -> tuple[NDArray[np.int64], Floats, NDArray[np.int64]]:
    """Return number, CRVAL1 and ring of the projection cells of one ring."""
    first, count = int(zone["first_projection_cell"]), int(zone["n_projection_cells"])
    index = np.arange(count)
    crval1 = (np.float32(360 / count) * index.astype(np.float32)).astype(np.float64)
    return first + index, crval1, np.full(count, ring)
