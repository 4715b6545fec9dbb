"""Polygons in a tangent plane, where every great circle is a straight line."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["contains_points", "convex_overlap", "is_within"]

Floats = NDArray[np.float64]

TOUCH = 1e-12
"""Slack for shapes that just touch, in the plane's unit (radians: 2e-7 arcsec)."""


def convex_overlap(polygons: Floats, polygon: Floats, *, slack: float) -> NDArray[np.bool_]:
    """Tell which convex polygons overlap one convex polygon by a positive area.

    Parameters
    ----------
    polygons : (k, m, 2) float64
        Vertices in order, either way round.
    polygon : (n, 2) float64
        Vertices of the other polygon.
    slack : float
        An overlap that is narrower than this counts as none; unit of the vertices.

    Returns
    -------
    (k,) bool
        True where they overlap.

    Notes
    -----
    Separating axes: two convex polygons are apart if and only if an edge of one of them has all of
    the other on its outer side.
    """
    other = np.broadcast_to(polygon, (len(polygons), *polygon.shape))
    apart = np.zeros(len(polygons), dtype=bool)
    for edged in (polygons, other):
        edges = np.roll(edged, -1, axis=1) - edged
        normals = np.stack([-edges[..., 1], edges[..., 0]], axis=-1)
        normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
        first = np.einsum("kei,kvi->kev", normals, polygons)
        second = np.einsum("kei,kvi->kev", normals, other)
        gaps = np.maximum(
            first.min(axis=2) - second.max(axis=2), second.min(axis=2) - first.max(axis=2)
        )
        apart |= (gaps > -slack).any(axis=1)
    return ~apart


def contains_points(polygon: Floats, points: Floats) -> NDArray[np.bool_]:
    """Tell which points lie in a simple polygon, convex or not.

    Parameters
    ----------
    polygon : (n, 2) float64
        Vertices in order.
    points : (k, 2) float64
        The points.

    Returns
    -------
    (k,) bool
        True inside; either on the border.
    """
    x0, y0 = polygon.T
    x1, y1 = np.roll(polygon, -1, axis=0).T
    x, y = points[:, :1], points[:, 1:]
    straddles = (y0 <= y) != (y1 <= y)
    # The side of the edge that the point is on, without a division: sign of a cross product.
    left = (x1 - x0) * (y - y0) - (x - x0) * (y1 - y0) > 0
    crossed = straddles & (left == (y1 > y0))
    return np.asarray(crossed.sum(axis=1) % 2 == 1)


def is_within(polygon: Floats, convex: Floats, distance: float) -> bool:
    """Tell whether a convex polygon comes within a distance of any polygon.

    Parameters
    ----------
    polygon : (n, 2) float64
        Vertices of a simple polygon in order.
    convex : (m, 2) float64
        Vertices of the convex polygon in order.
    distance : float
        Largest distance that counts, 0 or more; unit of the vertices.

    Returns
    -------
    bool
        True if they overlap, touch, hold one another or come as close.
    """
    reach = distance + TOUCH
    centre = convex.mean(axis=0, keepdims=True)
    radius = float(np.linalg.norm(convex - centre, axis=1).max())
    if contains_points(polygon, centre)[0]:
        return True
    if _distance_to_border(centre, polygon) > radius + reach:
        return False
    return (
        bool(contains_points(convex, polygon[:1])[0])
        or _distance_to_border(convex, polygon) <= reach
        or _distance_to_border(polygon, convex) <= reach
        or _borders_cross(convex, polygon)
    )


def _distance_to_border(points: Floats, polygon: Floats) -> float:
    """Return the smallest distance between any of the points and any edge of the polygon."""
    edges = np.roll(polygon, -1, axis=0) - polygon
    squares = np.maximum((edges**2).sum(axis=1), np.finfo(float).tiny)
    from_start = points[:, None] - polygon
    along = np.clip((from_start * edges).sum(axis=2) / squares, 0.0, 1.0)
    nearest = from_start - along[..., None] * edges
    return float(np.sqrt((nearest**2).sum(axis=2).min()))


def _borders_cross(first: Floats, second: Floats) -> bool:
    """Tell whether an edge of one polygon crosses an edge of the other."""
    a, b = first[:, None], np.roll(first, -1, axis=0)[:, None]
    c, d = second[None], np.roll(second, -1, axis=0)[None]
    first_splits = _side(a, b, c) * _side(a, b, d) < 0
    second_splits = _side(c, d, a) * _side(c, d, b) < 0
    return bool((first_splits & second_splits).any())


def _side(start: Floats, end: Floats, point: Floats) -> Floats:
    """Return the side of a line that a point is on, as a sign."""
    along, across = end - start, point - start
    return np.asarray(
        np.sign(along[..., 0] * across[..., 1] - along[..., 1] * across[..., 0]), dtype=np.float64
    )
