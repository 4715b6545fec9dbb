"""Groups: skycells on one tangent plane that form a complete grid."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from syndiff.config import PS1_PIXEL_ARCSEC
from syndiff.sky.skycell_table import SkycellTable, corner_pixels

if TYPE_CHECKING:
    from syndiff.sky.tessellation import Tessellation

__all__ = ["RAMP_ARCSEC", "RAMP_PX", "SkycellGroups", "groups_of"]

Floats = NDArray[np.float64]

RAMP_ARCSEC = 80.0
"""Width over which a weight goes from 0 to 1; less where skycells overlap less.

A star of 0.8" seeing on the border of two grids rotated against each other then errs by 5e-6 of its
flux (rms; 2e-5 at worst); 40" leaves 2e-5 (7e-5). A cubic smoothstep of 80" leaves 8e-6 (8e-5).
"""

RAMP_PX = RAMP_ARCSEC / PS1_PIXEL_ARCSEC
"""The same in PS1 pixels."""

_EDGE_PX = 28
"""Where a skycell has no weight along its edges, as far as its overlaps are wide enough.

Seven arcsec, or a quarter of the overlap: the edge cuts off the wings of stars nearer to it, stacks
have a border without data, and the spline takes light from a cell beyond. Three stars 4" from an
edge, in overlaps of 25", err by up to 1.5e-4 of their peak instead of 2.5e-4. From 94" on, ramps
are whole.
"""


@dataclass(frozen=True, eq=False)
class SkycellGroups:
    """Groups of all skycells of a tessellation; a skycell outside a grid is a group of its own.

    Parameters
    ----------
    number : (n,) int64
        Group of each skycell.
    union : (g, 4) float64
        u0, v0, u1, v1 of the rectangle that each group covers, in pixels from the tangent point.
    bounds : (n, 4) float64
        The same of each skycell.
    ramps : (n, 4, 2) float64
        Where each skycell's ramps begin and end: up and down in u, up and down in v.
    """

    number: NDArray[np.int64]
    union: Floats
    bounds: Floats
    ramps: Floats


@functools.lru_cache(maxsize=2)
def groups_of(tessellation: Tessellation) -> SkycellGroups:
    """Return the groups of a tessellation, and the ramps within them.

    Parameters
    ----------
    tessellation : Tessellation
        All skycells there are.

    Returns
    -------
    SkycellGroups
        Made once for each tessellation (0.5 s for RINGS.V3).
    """
    table = tessellation.table
    bounds = (corner_pixels(table.size)[:, ::2] + 1.0 - table.crpix[:, None]).reshape(-1, 4)
    ramps = np.stack([_no_ramps(bounds[:, ::2]), _no_ramps(bounds[:, 1::2])], axis=1)
    ramps = ramps.reshape(-1, 4, 2)
    number = np.empty(len(table), dtype=np.int64)
    unions: list[Floats] = []
    for rows in _tangent_planes(table):
        inner = _ramps_of_grid(bounds[rows])
        if inner is None:
            number[rows] = len(unions) + np.arange(len(rows))
            unions.extend(bounds[rows])
        else:
            number[rows] = len(unions)
            ramps[rows] = inner
            unions.append(
                np.concatenate([bounds[rows, :2].min(axis=0), bounds[rows, 2:].max(axis=0)])
            )
    return SkycellGroups(number, np.array(unions), bounds, ramps)


def _tangent_planes(table: SkycellTable) -> list[NDArray[np.intp]]:
    """Return the rows of each tangent plane: same CRVAL, CDELT, PC; CRPIX whole pixels apart."""
    columns = [table.crval, table.cdelt * 3600, table.pc, np.round(table.crpix, 6) % 1.0]
    keys = np.round(np.concatenate(columns, axis=1), 9)
    # Sorted by name, a plane's skycells are adjacent: sorting one row of each run is quicker.
    heads = np.flatnonzero(np.r_[True, (keys[1:] != keys[:-1]).any(axis=1)])
    _, plane_of_run = np.unique(keys[heads], axis=0, return_inverse=True)
    plane = np.repeat(plane_of_run.ravel(), np.diff(np.r_[heads, len(table)]))
    order = np.argsort(plane, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(plane[order])) + 1)


def _no_ramps(spans: Floats) -> Floats:
    """Return ramps up and down outside of spans: (n, 2) -> (n, 2, 2)."""
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
    both = end - begin
    half = np.minimum(RAMP_PX, np.maximum(both - 2 * _EDGE_PX, both / 2)) / 2
    middle = (begin + end) / 2
    ramps[1:, 0] = np.stack([middle - half, middle + half], axis=1)
    ramps[:-1, 1] = ramps[1:, 0]
    return ramps
