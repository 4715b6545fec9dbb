"""Skycells: the position of each on the sky, and which ones cover a part of it."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from syndiff.config import digest
from syndiff.errors import GeometryError
from syndiff.sky.planar import convex_overlap, is_within
from syndiff.sky.skycell_file import read_catalogue
from syndiff.sky.skycell_table import (
    SkycellTable,
    corner_pixels,
    pixel_to_direction,
    rings_v3_table,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from astropy.wcs import WCS
    from numpy.typing import NDArray

__all__ = ["Skycell", "Tessellation"]

OVERLAP_SLACK_PX = 1e-6
"""Skycells that share a strip narrower than this only touch; rounding stays below 1e-9 pixels."""

MAX_FOOTPRINT_DEG = 40.0
"""Largest radius of a footprint; a CCD's is 8, a camera's 17."""


@dataclass(frozen=True)
class Skycell:
    """One skycell: an image of 0.25" pixels in a gnomonic (TAN) projection.

    Parameters
    ----------
    name : str
        For example ``skycell.2556.082``.
    nx, ny : int
        Pixels in x and y.
    crval : (float, float)
        RA and Dec of the tangent point, degrees (ICRS).
    crpix : (float, float)
        Pixel of the tangent point as in FITS, 1-based.
    cdelt : (float, float)
        Degrees per pixel.
    pc : (float, float, float, float)
        PC1_1, PC1_2, PC2_1, PC2_2.

    Examples
    --------
    >>> from syndiff import Tessellation
    >>> skycell = Tessellation.rings_v3()["skycell.2556.082"]
    >>> skycell.shape, skycell.projection_cell
    ((6350, 6365), 'skycell.2556')
    >>> skycell.wcs.pixel_to_world(3182, 3174).to_string("hmsdms", precision=0)
    '13h18m16s +71d23m58s'
    """

    name: str
    nx: int
    ny: int
    crval: tuple[float, float]
    crpix: tuple[float, float]
    cdelt: tuple[float, float]
    pc: tuple[float, float, float, float]

    def __getstate__(self) -> dict[str, Any]:
        # The cached WCS is not pickled: it is large, and cheap to make again.
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.ny, self.nx

    @property
    def projection_cell(self) -> str:
        """Name of the projection cell: all before the name's last dot."""
        return self.name.rpartition(".")[0] or self.name

    @property
    def digest(self) -> str:
        """Short digest of name, size and WCS."""
        return digest(self.__getstate__())

    @functools.cached_property
    def wcs(self) -> WCS:
        """The WCS; LONPOLE is 180 everywhere, which matters at the pole."""
        from astropy.wcs import WCS

        wcs = WCS(naxis=2)
        wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
        wcs.wcs.cunit = ["deg", "deg"]
        wcs.wcs.radesys = "ICRS"
        wcs.wcs.crval, wcs.wcs.crpix, wcs.wcs.cdelt = self.crval, self.crpix, self.cdelt
        wcs.wcs.pc = np.array(self.pc).reshape(2, 2)
        wcs.wcs.lonpole = 180.0
        wcs.pixel_shape = (self.nx, self.ny)
        wcs.wcs.set()
        return wcs

    @functools.cached_property
    def pixel_to_direction(self) -> NDArray[np.float64]:
        """Matrix (3, 3): ``matrix @ (x, y, 1)``, 0-based, points to the pixel (any length)."""
        table = SkycellTable(
            np.array([self.name]),
            np.array([[self.nx, self.ny]]),
            np.array([self.crval]),
            np.array([self.crpix]),
            np.array([self.cdelt]),
            np.array([self.pc]),
        )
        return np.asarray(pixel_to_direction(table)[0])


class Tessellation:
    """All skycells of a survey or a catalogue.

    Parameters
    ----------
    table : SkycellTable
        The skycells, sorted by name.

    Examples
    --------
    >>> from syndiff import Tessellation
    >>> rings = Tessellation.rings_v3()
    >>> rings
    <Tessellation of 215700 skycells, skycell.0487.000 to skycell.2643.099>
    >>> rings["skycell.2643.000"].crval
    (0.0, 90.0)
    """

    def __init__(self, table: SkycellTable) -> None:
        self.table = table
        matrices = pixel_to_direction(table)
        middle = np.concatenate([(table.size - 1) / 2, np.ones((len(table), 1))], axis=1)
        self._centres = _unit(np.einsum("nij,nj->ni", matrices, middle))
        corners = _unit(_corners(table, matrices))
        self._radii = _angle(corners, self._centres[:, None]).max(axis=1)
        self._largest = float(self._radii.max())
        # Neighbours are looked for among those of about the same declination.
        self._by_height = np.argsort(self._centres[:, 2])
        self._heights = self._centres[self._by_height, 2]

    @classmethod
    @functools.cache
    def rings_v3(cls) -> Tessellation:
        """Return the 215,700 skycells of PS1's RINGS.V3, from dec -40 to the pole.

        Returns
        -------
        Tessellation
            The same object at every call.
        """
        return cls(rings_v3_table())

    @classmethod
    def from_csv(cls, content: bytes | str | Path) -> Tessellation:
        """Read a user's catalogue of skycells.

        Parameters
        ----------
        content : bytes or str or Path
            The CSV file's bytes, or its path; `skycell_file.read_catalogue` describes its columns.

        Returns
        -------
        Tessellation
            Its skycells.

        Raises
        ------
        GeometryError
            If the catalogue is malformed; the message names row, column and value.
        """
        return cls(read_catalogue(content))

    def __repr__(self) -> str:
        names = self.table.names
        return f"<Tessellation of {len(self)} skycells, {names[0]} to {names[-1]}>"

    def __len__(self) -> int:
        return len(self.table)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._find(name) is not None

    def __getitem__(self, name: str) -> Skycell:
        return self._skycell(self.row(name))

    def __iter__(self) -> Iterator[Skycell]:
        return (self._skycell(row) for row in range(len(self)))

    @functools.cached_property
    def digest(self) -> str:
        """Short digest of all names, sizes and WCS."""
        hashed = hashlib.sha256("\n".join(self.table.names.tolist()).encode())
        for column in fields(self.table)[1:]:
            values = getattr(self.table, column.name)
            hashed.update(values.astype(values.dtype.newbyteorder("<")).tobytes())
        return hashed.hexdigest()[:16]

    def row(self, name: str) -> int:
        """Return the row of a skycell in the table.

        Parameters
        ----------
        name : str
            Its name.

        Returns
        -------
        int
            The row.

        Raises
        ------
        GeometryError
            If there is no such skycell.
        """
        row = self._find(name)
        if row is None:
            names = self.table.names
            raise GeometryError(
                f"no skycell {name!r} in this tessellation: its {len(self)} names run from "
                f"{names[0]} to {names[-1]}"
            )
        return row

    def covering(self, footprint: NDArray[np.float64], margin_deg: float = 0.0) -> list[Skycell]:
        """Return all skycells that may touch a footprint.

        Parameters
        ----------
        footprint : (n, 3) float64
            Directions (of any length) along the border of a simple polygon in order, dense enough
            for its curvature.
        margin_deg : float
            Skycells that come as close as this to the polygon count too, degrees.

        Returns
        -------
        list of Skycell
            Sorted by name. Exact for margin 0; with a margin a few per cent of it may be added (the
            distortion of the tangent plane), never taken away.

        Raises
        ------
        GeometryError
            If the footprint is not a polygon on a part of the sky.
        """
        vertices = _unit(np.asarray(footprint, dtype=np.float64))
        centre, radius = _bounding_circle(vertices)
        if not 0 <= margin_deg <= MAX_FOOTPRINT_DEG:
            raise GeometryError(
                f"margin of {margin_deg} deg can't be used: give 0 to {MAX_FOOTPRINT_DEG:g}"
            )
        margin = np.deg2rad(margin_deg)
        rows = self._near(centre, radius + margin)
        if not len(rows):
            return []
        # A step of length s at angle t from the tangent point is at most s / cos(t)^2 in the plane.
        farthest = radius + margin + 2 * self._largest
        reach = margin / np.cos(farthest) ** 2
        to_plane = _tangent_frame(centre)
        polygon = _project(to_plane, vertices)
        table = self.table.take(rows)
        quads = _project(to_plane, _corners(table, pixel_to_direction(table)))
        chosen = [
            row for row, quad in zip(rows, quads, strict=True) if is_within(polygon, quad, reach)
        ]
        return [self._skycell(row) for row in chosen]

    def neighbours(self, skycell: Skycell) -> list[Skycell]:
        """Return all skycells that overlap one, within and across projections.

        Parameters
        ----------
        skycell : Skycell
            A skycell of this tessellation.

        Returns
        -------
        list of Skycell
            Those that share a positive area with it, itself left out, sorted by name.

        Raises
        ------
        GeometryError
            If the skycell isn't of this tessellation.
        """
        return [self._skycell(row) for row in self.overlapping_rows(skycell)]

    def overlapping_rows(self, skycell: Skycell) -> NDArray[np.intp]:
        """Return the rows of `neighbours` in the table.

        Parameters
        ----------
        skycell : Skycell
            A skycell of this tessellation.

        Returns
        -------
        (k,) int
            Rows, ascending.

        Raises
        ------
        GeometryError
            If the skycell isn't of this tessellation.
        """
        own = self.row(skycell.name)
        if self._skycell(own) != skycell:
            raise GeometryError(
                f"skycell {skycell.name} has another WCS in this tessellation "
                f"({self._skycell(own)}, given {skycell}): use one catalogue throughout"
            )
        rows = self._near(self._centres[own], self._radii[own])
        rows = rows[rows != own]
        table = self.table.take(rows)
        to_own = np.asarray(np.linalg.inv(skycell.pixel_to_direction), dtype=np.float64)
        quads = _project(to_own, _corners(table, pixel_to_direction(table)))
        rectangle = corner_pixels(self.table.size[own : own + 1])[0]
        return np.asarray(rows[convex_overlap(quads, rectangle, slack=OVERLAP_SLACK_PX)])

    def _find(self, name: str) -> int | None:
        """Return the row of a name, or None."""
        row = int(np.searchsorted(self.table.names, name))
        return row if row < len(self) and self.table.names[row] == name else None

    def _skycell(self, row: int | np.intp) -> Skycell:
        """Return the skycell of one row."""
        nx, ny = self.table.size[row].tolist()
        reals = (self.table.crval, self.table.crpix, self.table.cdelt, self.table.pc)
        return Skycell(
            str(self.table.names[row]), nx, ny, *(tuple(column[row].tolist()) for column in reals)
        )

    def _near(self, centre: NDArray[np.float64], radius: float) -> NDArray[np.intp]:
        """Return the rows whose bounding circle overlaps a circle on the sky (radians)."""
        reach = min(self._largest + radius, np.pi)
        chord = 2 * np.sin(reach / 2) + 2e-6  # more than 1e-12 of a cosine is
        first, last = np.searchsorted(self._heights, [centre[2] - chord, centre[2] + chord])
        rows = np.sort(self._by_height[first:last])
        # Not a matrix product: BLAS would start threads, which is slower beside other workers.
        x, y, z = self._centres[rows].T
        cosines = x * centre[0] + y * centre[1] + z * centre[2]
        limits = np.cos(np.minimum(self._radii[rows] + radius, np.pi)) - 1e-12
        return np.asarray(rows[cosines >= limits], dtype=np.intp)


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return vectors scaled to unit length."""
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True))


def _angle(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the angle between unit vectors, radians; good for small angles too."""
    return np.asarray(2 * np.arcsin(np.minimum(np.linalg.norm(first - second, axis=-1) / 2, 1.0)))


def _corners(table: SkycellTable, matrices: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the directions of the outer corners, (n, 4, 3)."""
    pixels = corner_pixels(table.size)
    return np.asarray(
        np.einsum("nij,nkj->nki", matrices[..., :2], pixels) + matrices[:, None, :, 2]
    )


def _bounding_circle(vertices: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """Return centre and radius (radians) of a circle that holds a footprint."""
    if vertices.ndim != 2 or vertices.shape[0] < 3 or not np.isfinite(vertices).all():
        raise GeometryError(
            f"footprint of shape {vertices.shape} is not a polygon: give (n, 3) finite directions "
            "along its border, three or more"
        )
    centre = _unit(vertices.sum(axis=0))
    radius = float(_angle(vertices, centre).max())
    if not np.rad2deg(radius) <= MAX_FOOTPRINT_DEG:
        raise GeometryError(
            f"footprint reaches {np.rad2deg(radius):.1f} deg from its centre: at most "
            f"{MAX_FOOTPRINT_DEG:g} deg can be covered at a time"
        )
    return centre, radius


def _tangent_frame(centre: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a rotation whose last row is the centre: directions become plane coordinates."""
    aside = np.eye(3)[np.abs(centre).argmin()]
    first = _unit(np.cross(aside, centre))
    return np.asarray(np.stack([first, np.cross(centre, first), centre]))


def _project(matrix: NDArray[np.float64], directions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return directions in a plane: two coordinates divided by the third."""
    turned = directions @ matrix.T
    return np.asarray(turned[..., :2] / turned[..., 2:])
