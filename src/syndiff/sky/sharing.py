"""Weights of overlapping skycells: smooth over the sky, and summing to one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from syndiff.config import BANDS
from syndiff.errors import GeometryError
from syndiff.kernels import sharing as kernels
from syndiff.kernels.lattice import CELL_PX
from syndiff.sky.skycell_groups import RAMP_PX, groups_of
from syndiff.sky.skycell_table import SkycellTable, pixel_to_direction

if TYPE_CHECKING:
    from collections.abc import Mapping

    from syndiff.sky.tessellation import Skycell, Tessellation

__all__ = [
    "LostCells",
    "Sharing",
    "share_cells",
    "share_lost_cells",
    "share_valid_cells",
    "sharing_of",
]

Floats = NDArray[np.float64]
Cells = NDArray[np.uint8] | NDArray[np.bool_]
Bits = NDArray[np.uint8] | int


@dataclass(frozen=True, eq=False)
class Sharing:
    """The weight of one skycell against all that overlap it; small and picklable.

    Parameters
    ----------
    skycell : Skycell
        The skycell.
    names : tuple of str
        Itself, then every skycell that overlaps it, by name.
    planes : (g, 3, 3) float64
        Homogeneous matrices from its pixels (0-based) to the plane of every group that overlaps it,
        in pixels from the tangent point; its own group is the first.
    unions : (g, 4) float64
        u0, v0, u1, v1 of each group's union in its plane.
    groups : (k,) int64
        Group of each of `names`.
    bounds : (k, 4) float64
        u0, v0, u1, v1 of each of `names` in its group's plane.
    ramps : (k, 4, 2) float64
        Where the ramps within the group begin and end: up and down in u, up and down in v.

    Notes
    -----
    Skycells on one tangent plane that form a complete grid are a *group*; any other skycell is a
    group of its own. The weight is the product of the group's share and, within the group, of a
    smoothstep of `RAMP_ARCSEC` around the middle of every overlap.

    Between groups, with depth d = (sum of the distances to the union's four edges, to the power
    -4)^(-1/4), group g has against t the ramp ``S = smoothstep(1/2 + (d_g - d_t) / (2 h))``, where
    ``h = ((d_g + d_t)^-4 + RAMP_ARCSEC^-4)^(-1/4)``. Its share is the product of S over the other
    groups that hold the point, divided by the sum of such products. S is 0 where d_g = 0, so that
    weights vanish at edges, and the powers are smooth approximations of minima.
    """

    skycell: Skycell
    names: tuple[str, ...]
    planes: Floats
    unions: Floats
    groups: NDArray[np.int64]
    bounds: Floats
    ramps: Floats

    @property
    def neighbours(self) -> tuple[str, ...]:
        """Names of the skycells that overlap this one."""
        return self.names[1:]

    @property
    def geometry(self) -> kernels.Geometry:
        """What the kernels take."""
        width = np.array([RAMP_PX])
        return self.planes, self.unions, self.groups, self.bounds, self.ramps, width

    def weight(self, x: Floats | float, y: Floats | float, *, of: str | None = None) -> Floats:
        """Return weights at points of this skycell.

        Parameters
        ----------
        x, y : float64 arrays
            Its pixels, 0-based.
        of : str, optional
            Name of the neighbour whose weight is wanted; None for the skycell itself.

        Returns
        -------
        float64 array
            Weights from 0 to 1, in the shape of `x` and `y`; 0 outside the skycell asked for.

        Raises
        ------
        GeometryError
            If `of` is not a neighbour.
        """
        xs, ys = np.broadcast_arrays(np.asarray(x, dtype=np.float64), np.asarray(y, np.float64))
        out = np.empty(xs.size)
        index = 0 if of is None else self._index(of)
        kernels.share_points(xs.ravel(), ys.ravel(), index, self.geometry, out)
        return np.asarray(out.reshape(xs.shape))

    def centres(self, cell_px: int = CELL_PX) -> tuple[Floats, Floats]:
        """Return the pixels of the centres of cells.

        Parameters
        ----------
        cell_px : int
            Pixels along a cell's side.

        Returns
        -------
        x, y : (ncx,), (ncy,) float64
            For example ``8 I + 3.5``; the last cell's is moved inside the skycell if need be.
        """
        return _centres(self.skycell.nx, cell_px), _centres(self.skycell.ny, cell_px)

    def _index(self, name: str) -> int:
        """Return the place of a name among `names`."""
        if name not in self.names:
            raise GeometryError(
                f"{name} does not overlap {self.skycell.name}: its neighbours are "
                f"{', '.join(self.neighbours) or 'none'}"
            )
        return self.names.index(name)


def _centres(size: int, cell_px: int) -> Floats:
    """Return the centres of the cells along one axis."""
    cells = np.arange(-(-size // cell_px))
    return np.asarray(np.minimum(cell_px * cells + (cell_px - 1) / 2, size - 1.0))


def sharing_of(tessellation: Tessellation, skycell: Skycell) -> Sharing:
    """Return how a skycell shares the sky with all that overlap it.

    Parameters
    ----------
    tessellation : Tessellation
        All skycells there are, whether or not anybody uses them.
    skycell : Skycell
        One of them.

    Returns
    -------
    Sharing
        Its weights.

    Raises
    ------
    GeometryError
        If the skycell isn't of this tessellation.
    """
    of_all = groups_of(tessellation)
    rows = np.concatenate(
        [[tessellation.row(skycell.name)], tessellation.overlapping_rows(skycell)]
    )
    numbers, first, groups = np.unique(of_all.number[rows], return_index=True, return_inverse=True)
    # `unique` sorts by number; groups are wanted as they are met, this skycell's own as number 0.
    order = np.argsort(first)
    rank = np.argsort(order)
    heads = tessellation.table.take(rows[first[order]])
    return Sharing(
        skycell,
        tuple(tessellation.table.names[rows].tolist()),
        _planes(skycell, heads),
        of_all.union[numbers[order]],
        rank[groups].astype(np.int64),
        of_all.bounds[rows],
        of_all.ramps[rows],
    )


def _planes(skycell: Skycell, heads: SkycellTable) -> Floats:
    """Return the matrices from a skycell's pixels to the planes of one skycell of each group."""
    to_pixels = np.linalg.inv(pixel_to_direction(heads)) @ skycell.pixel_to_direction
    to_planes = np.tile(np.eye(3), (len(heads), 1, 1))
    to_planes[:, :2, 2] = 1.0 - heads.crpix
    planes = to_planes @ to_pixels
    # Its own group's is a shift; the detour over the sky would leave rounding.
    planes[0] = to_planes[0]
    return np.ascontiguousarray(planes / planes[:, 2:, 2:])


def share_cells(sharing: Sharing, lit: Cells, *, cell_px: int = CELL_PX) -> NDArray[np.float32]:
    """Return a skycell's weights at the centres of its lit cells.

    Parameters
    ----------
    sharing : Sharing
        From `sharing_of`.
    lit : (ncy, ncx) bool or uint8
        Where weights are wanted.
    cell_px : int
        PS1 pixels along a cell's side: 8 for 2" cells, 32 for 8" cells.

    Returns
    -------
    (ncy, ncx) float32
        Weights; 0 where not lit.

    Raises
    ------
    GeometryError
        If `lit` is not of the skycell's shape.
    """
    x, y = sharing.centres(cell_px)
    flags = _as_flags(lit, (y.size, x.size), sharing)
    out = np.empty(flags.shape, dtype=np.float32)
    kernels.share_lit(flags, x, y, sharing.geometry, out)
    return out


@dataclass(frozen=True, eq=False)
class LostCells:
    """The cells of a skycell where it, or one that overlaps it, has a weight but no valid data.

    Parameters
    ----------
    row, column : (n,) int64
        The cells.
    shares : (4, n) float32
        The skycell's weights there, band by band.
    """

    row: NDArray[np.int64]
    column: NDArray[np.int64]
    shares: NDArray[np.float32]


def share_lost_cells(
    sharing: Sharing,
    lit: Cells,
    invalid: Mapping[str, Bits],
    *,
    cell_px: int = CELL_PX,
) -> tuple[NDArray[np.float32], LostCells]:
    """Return a skycell's weights, and where bands differ because skycells lack valid data.

    Parameters
    ----------
    sharing : Sharing
        From `sharing_of`.
    lit : (ncy, ncx) bool or uint8
        Where weights are wanted, besides the cells that are lost to some skycell.
    invalid : mapping of str to (m2y, m2x) uint8 or int
        For the skycell itself or neighbours: bit b is set where that skycell has no valid data in
        band b of `config.BANDS`, on its own 2" cells; one number for all cells (15: an absent
        skycell). Skycells that are not named are valid; names that don't overlap are ignored.
    cell_px : int
        PS1 pixels along the side of the cells of `lit`: 8 for 2" cells, 32 for 8" cells.

    Returns
    -------
    plain : (ncy, ncx) float32
        Weights if all skycells were valid; 0 where not wanted.
    lost : LostCells
        Weights of each band where it matters. Over all skycells that have valid data at a place
        they sum to one; where none has, they are the plain weights.

    Raises
    ------
    GeometryError
        If an array is not of its skycell's shape.
    """
    x, y = sharing.centres(cell_px)
    wanted = _as_flags(lit, (y.size, x.size), sharing)
    concerned = {
        k: found
        for k, name in enumerate(sharing.names)
        if name in invalid
        and (found := _bits_of(sharing, k, invalid[name])).cells[found.part].any()
    }
    bits = _lost_bits(sharing, wanted.shape, concerned, cell_px)
    plain = share_cells(sharing, wanted | bits, cell_px=cell_px)
    row, column = np.empty((2, np.count_nonzero(bits)), np.int64)
    kernels.list_marked(bits, row, column)
    shares = np.repeat(plain[None, row, column], len(BANDS), axis=0)
    if row.size:
        packed = _packed(sharing, concerned)
        kernels.share_again(bits[row, column], x[column], y[row], sharing.geometry, packed, shares)
    return plain, LostCells(row, column, shares)


def share_valid_cells(
    sharing: Sharing, lit: Cells, invalid: Mapping[str, Bits], *, cell_px: int = CELL_PX
) -> tuple[NDArray[np.float32], ...]:
    """Return a skycell's weights, band by band, where some skycells have no valid data.

    Parameters
    ----------
    sharing, lit, invalid, cell_px
        As in `share_lost_cells`.

    Returns
    -------
    tuple of (ncy, ncx) float32
        Weights of each band; 0 where not lit. Bands where nothing is lost are the same array.

    Raises
    ------
    GeometryError
        If an array is not of its skycell's shape.
    """
    plain, lost = share_lost_cells(sharing, lit, invalid, cell_px=cell_px)
    unlit = np.asarray(lit) == 0
    plain[unlit] = 0
    out = []
    for shares in lost.shares:
        differs = shares != plain[lost.row, lost.column]
        differs &= ~unlit[lost.row, lost.column]
        plane = plain.copy() if differs.any() else plain
        plane[lost.row[differs], lost.column[differs]] = shares[differs]
        out.append(plane)
    return tuple(out)


def _as_flags(lit: Cells, shape: tuple[int, int], sharing: Sharing) -> NDArray[np.uint8]:
    """Return flags as the kernels take them, or raise if they are of another shape."""
    if lit.shape != shape:
        raise GeometryError(
            f"lit has shape {lit.shape}: the cells of {sharing.skycell.name} are {shape}"
        )
    return np.ascontiguousarray(lit).view(np.uint8)


def _lost_bits(
    sharing: Sharing,
    shape: tuple[int, ...],
    invalid: dict[int, _InvalidCells],
    cell_px: int,
) -> NDArray[np.uint8]:
    """Return the bands that some skycell lacks at each cell of this one, where it has a weight."""
    lost = np.zeros(shape, dtype=np.uint8)
    x, y = sharing.centres(cell_px)
    for k, found in invalid.items():
        plane, bounds = sharing.planes[sharing.groups[k]], sharing.bounds[k]
        weighty = _weighty(bounds, sharing.ramps[k])
        box = _box(plane, weighty, shape, cell_px)
        kernels.mark_lost(x, y, plane, bounds, weighty, found.cells, box, lost)
    return lost


def _weighty(bounds: Floats, ramps: Floats) -> Floats:
    """Return the part of a skycell where it can have a weight: between its ramps' outer ends.

    Stacks lack data along their edges, where it makes no difference: no weight is lost there.
    """
    return np.array(
        [
            max(bounds[0], ramps[0, 0]),
            max(bounds[1], ramps[2, 0]),
            min(bounds[2], ramps[1, 1]),
            min(bounds[3], ramps[3, 1]),
        ]
    )


def _packed(
    sharing: Sharing, invalid: dict[int, _InvalidCells]
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return all skycells' bits in one row, and the index into it for `kernels.share_again`."""
    index = np.full((len(sharing.names), 6), -1)
    begin = 0
    parts = []
    for k, found in invalid.items():
        rows, columns = found.part
        part = found.cells[found.part]
        index[k] = begin, *found.cells.shape, rows.start, columns.start, part.shape[1]
        begin += part.size
        parts.append(part.ravel())
    return np.concatenate(parts), index


@dataclass(frozen=True, eq=False)
class _InvalidCells:
    """Which bands a skycell lacks in each of its cells, and those of them that are needed."""

    cells: NDArray[np.uint8]
    """(rows, columns); one cell if one number is given for all."""
    part: tuple[slice, slice]
    """Rows and columns that can overlap the skycell whose weights are wanted."""


def _bits_of(sharing: Sharing, k: int, given: Bits) -> _InvalidCells:
    """Return a skycell's bits as an array, of one cell if one number is given for all."""
    cells = np.ascontiguousarray(np.atleast_2d(np.asarray(given, dtype=np.uint8)))
    if not np.ndim(given):
        return _InvalidCells(cells, np.s_[0:1, 0:1])
    u0, v0, u1, v1 = sharing.bounds[k]
    # Rounding the bounds, which are halves, would lose a pixel of an odd side.
    expected = tuple(-(-round(side) // CELL_PX) for side in (v1 - v0, u1 - u0))
    if cells.shape != expected:
        raise GeometryError(
            f"the invalid cells of {sharing.names[k]} have shape {cells.shape}: its 2-arcsec cells "
            f"are {expected}"
        )
    nx, ny = sharing.skycell.nx - 0.5, sharing.skycell.ny - 0.5
    corners = np.array([[-0.5, nx, nx, -0.5], [-0.5, -0.5, ny, ny], [1.0, 1.0, 1.0, 1.0]])
    turned = sharing.planes[sharing.groups[k]] @ corners
    # The corners of the skycell among the other's cells: a projection keeps it convex, so the cells
    # between their extremes hold all of it; one more on either side for rounding.
    places = (turned[:2] / turned[2] - [[u0], [v0]]) / CELL_PX
    columns, rows = (
        slice(*np.clip([np.floor(p.min()) - 1, np.ceil(p.max()) + 1], 0, n).astype(int).tolist())
        for p, n in zip(places, expected[::-1], strict=True)
    )
    return _InvalidCells(cells, (rows, columns))


def _box(plane: Floats, bounds: Floats, shape: tuple[int, ...], cell_px: int) -> NDArray[np.int64]:
    """Return the columns and rows of cells that a rectangle of another plane can reach."""
    u0, v0, u1, v1 = bounds
    corners = np.array([[u0, u1, u1, u0], [v0, v0, v1, v1], [1.0, 1.0, 1.0, 1.0]])
    turned = np.linalg.solve(plane, corners)
    cells = (turned[:2] / turned[2] + 0.5) / cell_px
    low, high = np.floor(cells.min(axis=1)), np.ceil(cells.max(axis=1))
    limits = np.array([[shape[1]], [shape[0]]])
    return np.asarray(np.clip(np.stack([low, high], axis=1), 0, limits).ravel(), dtype=np.int64)
