"""How skycells share the sky that they have in common: smooth weights that sum to one."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from syndiff.config import BANDS, PS1_PIXEL_ARCSEC
from syndiff.errors import GeometryError
from syndiff.kernels import sharing as kernels
from syndiff.skycell_table import SkycellTable, corner_pixels, pixel_to_direction

if TYPE_CHECKING:
    from collections.abc import Mapping

    from syndiff.tessellation import Skycell, Tessellation

__all__ = ["RAMP_ARCSEC", "Sharing", "share_cells", "share_valid_cells", "sharing_of"]

Floats = NDArray[np.float64]

RAMP_ARCSEC = 80.0
"""Width over which a weight goes from 0 to 1; less where skycells overlap less.

A star on the border of two grids turned against each other then errs by 6e-6 of its flux; 40"
leaves 5e-5, 20" 2e-4, a sharp cut 1e-2 (rms).
"""

CELL_PX = 8
"""A 2" cell has 8 PS1 pixels a side."""

_RAMP_PX = RAMP_ARCSEC / PS1_PIXEL_ARCSEC


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
    weights vanish at edges, and the powers are smooth stand-ins for least values.
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
        width = np.array([_RAMP_PX])
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

    def centres(self) -> tuple[Floats, Floats]:
        """Return the pixels of the centres of the 2" cells.

        Returns
        -------
        x, y : (n2x,), (n2y,) float64
            ``8 I + 3.5``; the last cell's is drawn inside the skycell if it juts out.
        """
        return _centres(self.skycell.nx), _centres(self.skycell.ny)

    def _index(self, name: str) -> int:
        """Return the place of a name among `names`."""
        if name not in self.names:
            raise GeometryError(
                f"{name} does not overlap {self.skycell.name}: its neighbours are "
                f"{', '.join(self.neighbours) or 'none'}"
            )
        return self.names.index(name)


def _centres(size: int) -> Floats:
    """Return the centres of the cells along one axis."""
    cells = np.arange(-(-size // CELL_PX))
    return np.asarray(np.minimum(CELL_PX * cells + (CELL_PX - 1) / 2, size - 1.0))


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
    grids = _grids(tessellation)
    rows = np.concatenate(
        [[tessellation.row(skycell.name)], tessellation.overlapping_rows(skycell)]
    )
    numbers, first, groups = np.unique(grids.group[rows], return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.argsort(order)
    heads = tessellation.table.take(rows[first[order]])
    return Sharing(
        skycell,
        tuple(tessellation.table.names[rows].tolist()),
        _planes(skycell, heads),
        grids.union[numbers[order]],
        rank[groups].astype(np.int64),
        grids.bounds[rows],
        grids.ramps[rows],
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


def share_cells(
    sharing: Sharing, lit: NDArray[np.uint8] | NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Return a skycell's weights at the centres of its lit 2" cells.

    Parameters
    ----------
    sharing : Sharing
        From `sharing_of`.
    lit : (n2y, n2x) bool or uint8
        Where weights are wanted.

    Returns
    -------
    (n2y, n2x) float32
        Weights; 0 where not lit.

    Raises
    ------
    GeometryError
        If `lit` is not of the skycell's shape.
    """
    flags = _as_cells(lit, sharing)
    out = np.empty(flags.shape, dtype=np.float32)
    kernels.share_lit(flags, *sharing.centres(), sharing.geometry, out)
    return out


def share_valid_cells(
    sharing: Sharing,
    lit: NDArray[np.uint8] | NDArray[np.bool_],
    invalid: Mapping[str, NDArray[np.uint8] | int],
) -> tuple[NDArray[np.float32], ...]:
    """Return a skycell's weights, band by band, where some skycells have no valid data.

    Parameters
    ----------
    sharing : Sharing
        From `sharing_of`.
    lit : (n2y, n2x) bool or uint8
        Where weights are wanted.
    invalid : mapping of str to (m2y, m2x) uint8 or int
        For the skycell itself or neighbours: bit b is set where that skycell has no valid data in
        band b of `config.BANDS`, on its own 2" cells; one number for all cells (15: an absent
        skycell). Names that are not there, or not overlapping, don't matter.

    Returns
    -------
    tuple of (n2y, n2x) float32
        Weights of each band; 0 where not lit. Bands with equal weights are the same array. Over all
        skycells that have valid data at a place they sum to one; where none has, they are the plain
        weights.

    Raises
    ------
    GeometryError
        If an array is not of its skycell's shape.
    """
    flags = _as_cells(lit, sharing)
    plain = share_cells(sharing, flags)
    concerned = {name: invalid[name] for name in sharing.names if name in invalid}
    lost, table = _lost_bits(sharing, flags, concerned)
    everything = int(np.bitwise_or.reduce(lost, axis=None))
    shares = tuple(plain.copy() if everything >> band & 1 else plain for band in range(len(BANDS)))
    if everything:
        kernels.share_again(lost, *sharing.centres(), sharing.geometry, table, shares)
    return shares


def _as_cells(lit: NDArray[np.uint8] | NDArray[np.bool_], sharing: Sharing) -> NDArray[np.uint8]:
    """Return flags as the kernels take them, or tell that they are of another skycell."""
    expected = tuple(centres.size for centres in reversed(sharing.centres()))
    if lit.shape != expected:
        raise GeometryError(
            f"lit has shape {lit.shape}: the 2-arcsec cells of {sharing.skycell.name} are "
            f"{expected}"
        )
    return np.ascontiguousarray(lit).view(np.uint8)


def _lost_bits(
    sharing: Sharing,
    lit: NDArray[np.uint8],
    invalid: Mapping[str, NDArray[np.uint8] | int],
) -> tuple[NDArray[np.uint8], tuple[NDArray[np.uint8], NDArray[np.int64]]]:
    """Return the bands that some skycell lacks at each lit cell, and all skycells' bits packed."""
    lost = np.zeros(lit.shape, dtype=np.uint8)
    index = np.full((len(sharing.names), 3), -1)
    packed = [np.zeros(0, dtype=np.uint8)]
    x, y = sharing.centres()
    begin = 0
    for name, given in invalid.items():
        k = sharing.names.index(name)
        cells = _bits_of(sharing, k, given)
        if not cells.any():
            continue
        index[k] = begin, *cells.shape
        packed.append(cells.ravel())
        begin += cells.size
        plane, bounds = sharing.planes[sharing.groups[k]], sharing.bounds[k]
        kernels.mark_lost(lit, x, y, plane, bounds, cells, _box(plane, bounds, lit.shape), lost)
    return lost, (np.concatenate(packed), index)


def _bits_of(sharing: Sharing, k: int, given: NDArray[np.uint8] | int) -> NDArray[np.uint8]:
    """Return a skycell's bits as an array, of one cell if one number stands for all."""
    cells = np.ascontiguousarray(np.atleast_2d(np.asarray(given, dtype=np.uint8)))
    u0, v0, u1, v1 = np.rint(sharing.bounds[k])
    expected = int(-(-(v1 - v0) // CELL_PX)), int(-(-(u1 - u0) // CELL_PX))
    if np.ndim(given) and cells.shape != expected:
        raise GeometryError(
            f"the invalid cells of {sharing.names[k]} have shape {cells.shape}: its 2-arcsec cells "
            f"are {expected}"
        )
    return cells


def _box(plane: Floats, bounds: Floats, shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Return the columns and rows of cells where a rectangle of another plane can lie."""
    u0, v0, u1, v1 = bounds
    corners = np.array([[u0, u1, u1, u0], [v0, v0, v1, v1], [1.0, 1.0, 1.0, 1.0]])
    turned = np.linalg.solve(plane, corners)
    cells = (turned[:2] / turned[2] + 0.5) / CELL_PX
    low, high = np.floor(cells.min(axis=1)), np.ceil(cells.max(axis=1))
    limits = np.array([[shape[1]], [shape[0]]])
    return np.asarray(np.clip(np.stack([low, high], axis=1), 0, limits).ravel(), dtype=np.int64)


class _Grids(NamedTuple):
    """Groups of all skycells of a tessellation.

    ``group`` (n,) int64: number of each skycell's group; ``union`` (groups, 4), ``bounds`` (n, 4),
    ``ramps`` (n, 4, 2) as in `Sharing`.
    """

    group: NDArray[np.int64]
    union: Floats
    bounds: Floats
    ramps: Floats


@functools.lru_cache(maxsize=2)
def _grids(tessellation: Tessellation) -> _Grids:
    """Return the groups of a tessellation, and the ramps within them."""
    table = tessellation.table
    bounds = (corner_pixels(table.size)[:, ::2] + 1.0 - table.crpix[:, None]).reshape(-1, 4)
    ramps = np.stack([_no_ramps(bounds[:, ::2]), _no_ramps(bounds[:, 1::2])], axis=1)
    ramps = ramps.reshape(-1, 4, 2)
    group = np.empty(len(table), dtype=np.int64)
    unions: list[Floats] = []
    for rows in _tangent_planes(table):
        inner = _ramps_of_grid(bounds[rows])
        if inner is None:
            group[rows] = len(unions) + np.arange(len(rows))
            unions.extend(bounds[rows])
        else:
            group[rows] = len(unions)
            ramps[rows] = inner
            unions.append(
                np.concatenate([bounds[rows, :2].min(axis=0), bounds[rows, 2:].max(axis=0)])
            )
    return _Grids(group, np.array(unions), bounds, ramps)


def _tangent_planes(table: SkycellTable) -> list[NDArray[np.intp]]:
    """Return the rows of each tangent plane: same CRVAL, CDELT, PC; CRPIX whole pixels apart."""
    columns = [table.crval, table.cdelt * 3600, table.pc, np.round(table.crpix, 6) % 1.0]
    keys = np.round(np.concatenate(columns, axis=1), 9)
    # Sorted by name, a plane's skycells stand together: sorting one row of each run is quicker.
    heads = np.flatnonzero(np.r_[True, (keys[1:] != keys[:-1]).any(axis=1)])
    _, plane_of_run = np.unique(keys[heads], axis=0, return_inverse=True)
    plane = np.repeat(plane_of_run.ravel(), np.diff(np.r_[heads, len(table)]))
    order = np.argsort(plane, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(plane[order])) + 1)


def _no_ramps(spans: Floats) -> Floats:
    """Return ramps up and down that lie outside of spans: (n, 2) -> (n, 2, 2)."""
    return np.asarray(spans[:, :, None] + np.array([[-2.0, -1.0], [1.0, 2.0]]))


def _ramps_of_grid(bounds: Floats) -> Floats | None:
    """Return the ramps of skycells that form a complete grid, (n, 4, 2), or None if they don't."""
    columns, column = np.unique(np.round(bounds[:, ::2], 3), axis=0, return_inverse=True)
    rows, row = np.unique(np.round(bounds[:, 1::2], 3), axis=0, return_inverse=True)
    places = row.ravel() * len(columns) + column.ravel()
    complete = len(np.unique(places)) == len(bounds) == len(columns) * len(rows)
    if not (complete and _is_chain(columns) and _is_chain(rows)):
        return None
    return np.concatenate(
        [_ramps_of_chain(columns)[column.ravel()], _ramps_of_chain(rows)[row.ravel()]], axis=1
    )


def _is_chain(spans: Floats) -> bool:
    """Tell whether spans (n, 2), sorted, each overlap the next and no other."""
    begin, end = spans.T
    return bool(
        (begin[1:] < end[:-1]).all() and (begin[2:] >= end[:-2]).all() and (np.diff(end) > 0).all()
    )


def _ramps_of_chain(spans: Floats) -> Floats:
    """Return the ramps up and down of a chain of spans, (n, 2, 2): around each overlap's middle."""
    ramps = _no_ramps(spans)
    begin, end = spans[1:, 0], spans[:-1, 1]
    half = np.minimum(_RAMP_PX, end - begin) / 2
    middle = (begin + end) / 2
    ramps[1:, 0] = np.stack([middle - half, middle + half], axis=1)
    ramps[:-1, 1] = ramps[1:, 0]
    return ramps
