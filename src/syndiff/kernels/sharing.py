"""Weights by which skycells share the sky that they have in common.

A *geometry* is a tuple of arrays as `syndiff.sky.sharing.Sharing.geometry` makes it::

    planes     (g, 3, 3) float64   pixels of this skycell -> plane of group g (homogeneous)
    unions     (g, 4) float64      u0, v0, u1, v1 of the group's union in its plane
    groups     (k,) int64          group of skycell k
    bounds     (k, 4) float64      u0, v0, u1, v1 of skycell k in its group's plane
    ramps      (k, 4, 2) float64   begin and end of its ramps: up and down in u, up and down in v
    width      (1,) float64        widest ramp, plane pixels

Skycell and group 0 are this skycell and its own group.
"""

import numpy as np
from numpy.typing import NDArray

from syndiff.kernels.compile import njit

__all__ = ["list_marked", "mark_lost", "share_again", "share_lit", "share_points"]

Floats = NDArray[np.float64]
Geometry = tuple[Floats, Floats, NDArray[np.int64], Floats, Floats, Floats]

RESERVE = 0.1
"""Part of the lost weight that goes to skycells by their own depth, see `share_again`."""

SHALLOWEST = 0.7071067811865475
"""A depth is this part of the least distance or more: 4^(-1/4), with all four edges as near."""

_STRETCH = 16
"""Cells of a row that are looked at together."""

_LONG_STRETCH = 128
"""Cells that are looked at first: most of a skycell is far from the borders of other groups."""

_SLACK_PX = 1e-6
"""More than rounding changes a distance by."""


@njit(cache=True, nogil=True)
def _smoothstep(t: float) -> float:
    """Return 0 below 0, 1 above 1, 6t^5 - 15t^4 + 10t^3 between: two smooth derivatives."""
    if t <= 0.0:
        return 0.0
    if t >= 1.0:
        return 1.0
    return t * t * t * (t * (t * 6.0 - 15.0) + 10.0)


@njit(cache=True, nogil=True)
def _least_distance(u: float, v: float, rectangle: Floats) -> float:
    """Return the distance to a rectangle's nearest edge; negative outside."""
    across = min(u - rectangle[0], rectangle[2] - u)
    return float(min(across, min(v - rectangle[1], rectangle[3] - v)))


@njit(cache=True, nogil=True)
def _depth(u: float, v: float, rectangle: Floats) -> float:
    """Return how deep a point lies inside a rectangle: a smooth minimum of the four distances.

    Exactly 0 on the border and outside; (sum of distance^-4)^(-1/4) inside, which differs from the
    least distance only near corners and has no kink on their diagonals.
    """
    least = _least_distance(u, v, rectangle)
    if least <= 0.0:
        return 0.0
    # Distances in units of the least: each ratio is 0 to 1, so no power over- or underflows to
    # harm, and the sum of the four powers is 1 to 4.
    a, b = least / (u - rectangle[0]), least / (rectangle[2] - u)
    c, d = least / (v - rectangle[1]), least / (rectangle[3] - v)
    a, b, c, d = a * a, b * b, c * c, d * d
    return float(least / np.sqrt(np.sqrt(a * a + b * b + c * c + d * d)))


@njit(cache=True, nogil=True)
def _enter_planes(x: float, y: float, planes: Floats, unions: Floats, places: Floats) -> int:
    """Fill `places` with u, v and the distance to the nearest edge in every group's plane.

    Returns how many groups hold the point. The fourth column is `_group_share`'s.
    """
    inside = 0
    for g in range(planes.shape[0]):
        # Gnomonic planes: straight lines stay straight, so one goes onto another by a matrix.
        scale = 1.0 / (planes[g, 2, 0] * x + planes[g, 2, 1] * y + planes[g, 2, 2])
        u = (planes[g, 0, 0] * x + planes[g, 0, 1] * y + planes[g, 0, 2]) * scale
        v = (planes[g, 1, 0] * x + planes[g, 1, 1] * y + planes[g, 1, 2]) * scale
        places[g, 0] = u
        places[g, 1] = v
        across = min(u - unions[g, 0], unions[g, 2] - u)
        places[g, 2] = min(across, min(v - unions[g, 1], unions[g, 3] - v))
        if places[g, 2] > 0.0:
            inside += 1
    return inside


@njit(cache=True, nogil=True)
def _group_share(g: int, inside: int, places: Floats, unions: Floats, width: float) -> float:
    """Return the share of group g among the `inside` groups that hold the point."""
    # On a border that no group is inside of, the ramps between its skycells alone decide.
    if places[g, 2] <= 0.0:
        return 1.0 if inside == 0 else 0.0
    if inside == 1:
        return 1.0
    evident = _evident_share(g, places, width)
    if evident >= 0.0:
        return float(evident)
    for t in range(places.shape[0]):
        places[t, 3] = _depth(places[t, 0], places[t, 1], unions[t])
    own = _precedence(g, places, width)
    if own == 0.0:
        return 0.0
    total = own
    for t in range(places.shape[0]):
        if t != g and places[t, 3] > 0.0:
            total += _precedence(t, places, width)
    return float(own / total)


@njit(cache=True, nogil=True)
def _evident_share(g: int, places: Floats, width: float) -> float:
    """Return 0 or 1 where depths differ so much that they needn't be known, else -1."""
    own = places[g, 2]
    is_far_ahead = True
    for t in range(places.shape[0]):
        other = places[t, 2]
        if t == g or other <= 0.0:
            continue
        # A depth is SHALLOWEST of the least distance to all of it, and a ramp spans +- `width` of
        # the difference of depths at most: beyond that it is 0 or 1 whatever they are exactly.
        if SHALLOWEST * other - own >= width:
            return 0.0
        is_far_ahead = is_far_ahead and SHALLOWEST * own - other >= width
    return 1.0 if is_far_ahead else -1.0


@njit(cache=True, nogil=True)
def _evident_stretch(start: Floats, stop: Floats, unions: Floats, width: float) -> float:
    """Return the share of group 0 all along a straight line if it is evidently 0 or 1, else -1.

    Depth is concave, as every power mean of distances with an exponent below 1 is, so it is nowhere
    on the line less than at both ends; and it changes no faster than the place: its slopes, the
    powers 5/4 of four numbers that sum to 1, don't add up to more. So it is nowhere more than
    `_most_between` says. No ramp is longer than `width`.
    """
    for g in range(start.shape[0]):
        start[g, 3] = _depth(start[g, 0], start[g, 1], unions[g])
        stop[g, 3] = _depth(stop[g, 0], stop[g, 1], unions[g])
    least_own = min(start[0, 3], stop[0, 3])
    most_own = _most_between(start[0], stop[0], 3)
    is_far_ahead = least_own > _SLACK_PX
    for t in range(1, start.shape[0]):
        least = min(start[t, 3], stop[t, 3])
        if least > _SLACK_PX and least - most_own >= width + _SLACK_PX:
            return 0.0
        if _most_between(start[t], stop[t], 2) >= -_SLACK_PX:
            most = _most_between(start[t], stop[t], 3)
            is_far_ahead = is_far_ahead and least_own - most >= width + _SLACK_PX
    return 1.0 if is_far_ahead else -1.0


@njit(cache=True, nogil=True)
def _evident_row(
    both: tuple[float, float],
    y: float,
    planes: Floats,
    unions: Floats,
    places: Floats,
    ends: Floats,
    width: float,
) -> float:
    """Return what `_evident_stretch` does for pixels of a row; fills `places` and `ends`."""
    _enter_planes(both[0], y, planes, unions, places)
    _enter_planes(both[1], y, planes, unions, ends)
    return float(_evident_stretch(places, ends, unions, width))


@njit(cache=True, nogil=True)
def _most_between(start: Floats, stop: Floats, column: int) -> float:
    """Return the largest distance (2) or depth (3) that is possible between two places."""
    across, along = stop[0] - start[0], stop[1] - start[1]
    length = np.sqrt(across * across + along * along)
    return float(0.5 * (start[column] + stop[column] + length))


@njit(cache=True, nogil=True)
def _precedence(g: int, places: Floats, width: float) -> float:
    """Return the product of the ramps of group g against every other group at the point."""
    own = places[g, 3]
    product = 1.0
    for t in range(places.shape[0]):
        other = places[t, 3]
        if t == g or other <= 0.0:
            continue
        both = own + other
        ratio = both / width
        # A smooth minimum of the ramp's width and the overlap's. It is below `both`, so the ramp
        # has come to 0 where the own depth is 0, on the border, however narrow the overlap.
        reach = both / np.sqrt(np.sqrt(1.0 + ratio * ratio * ratio * ratio))
        product *= _smoothstep(0.5 + (own - other) / (2.0 * reach))
        if product == 0.0:
            break
    return float(product)


@njit(cache=True, nogil=True)
def _ramp_share(u: float, v: float, bounds: Floats, ramps: Floats) -> float:
    """Return the share of a skycell within its group; 0 outside the skycell."""
    if u < bounds[0] or u > bounds[2] or v < bounds[1] or v > bounds[3]:
        return 0.0
    share = _smoothstep((u - ramps[0, 0]) / (ramps[0, 1] - ramps[0, 0]))
    share *= 1.0 - _smoothstep((u - ramps[1, 0]) / (ramps[1, 1] - ramps[1, 0]))
    share *= _smoothstep((v - ramps[2, 0]) / (ramps[2, 1] - ramps[2, 0]))
    share *= 1.0 - _smoothstep((v - ramps[3, 0]) / (ramps[3, 1] - ramps[3, 0]))
    return float(share)


@njit(cache=True, nogil=True)
def _share(k: int, inside: int, places: Floats, geometry: Geometry) -> float:
    """Return the weight of skycell k at the point that `places` describes."""
    _, unions, groups, bounds, ramps, width = geometry
    g = groups[k]
    share = _ramp_share(places[g, 0], places[g, 1], bounds[k], ramps[k])
    if share > 0.0:
        share *= _group_share(g, inside, places, unions, width[0])
    return float(share)


@njit(cache=True, nogil=True)
def share_points(x: Floats, y: Floats, k: int, geometry: Geometry, out: Floats) -> None:
    """Fill `out` with the weight of skycell k at points of this skycell's pixel plane.

    Parameters
    ----------
    x, y : (n,) float64
        Pixels of this skycell, 0-based.
    k : int
        Which skycell; 0 is this one.
    geometry : tuple
        See the module's head.
    out : (n,) float64
        Weights.
    """
    planes, unions = geometry[0], geometry[1]
    places = np.empty((planes.shape[0], 4))
    for i in range(x.size):
        inside = _enter_planes(x[i], y[i], planes, unions, places)
        out[i] = _share(k, inside, places, geometry)


@njit(cache=True, nogil=True)
def _met_by_others(y: float, planes: Floats, unions: Floats) -> tuple[float, float]:
    """Return the stretch of a pixel row outside of which no other group's union lies.

    An edge u = u0 of a union is a straight line in these pixels too: u >= u0 is p x + q >= 0.
    """
    first, last = np.inf, -np.inf
    for g in range(1, planes.shape[0]):
        plane, union = planes[g], unions[g]
        c, d = plane[2, 0], plane[2, 1] * y + plane[2, 2]
        begin, end = -np.inf, np.inf
        for side in range(4):
            axis, sign = side % 2, 1.0 if side < 2 else -1.0
            p = sign * (plane[axis, 0] - union[side] * c)
            q = sign * (plane[axis, 1] * y + plane[axis, 2] - union[side] * d)
            if p > 0.0:
                begin = max(begin, -q / p)
            elif p < 0.0:
                end = min(end, -q / p)
            elif q < 0.0:
                end = -np.inf
        if begin <= end:
            first, last = min(first, begin), max(last, end)
    return first, last


@njit(cache=True, nogil=True)
def share_lit(
    lit: NDArray[np.uint8], x: Floats, y: Floats, geometry: Geometry, out: NDArray[np.float32]
) -> None:
    """Fill `out` with this skycell's weight at the lit cells, 0 elsewhere.

    Parameters
    ----------
    lit : (ny, nx) uint8
        Not zero where wanted.
    x, y : (nx,), (ny,) float64
        Pixel of the cells' centres.
    geometry : tuple
        See the module's head.
    out : (ny, nx) float32
        Weights.
    """
    planes, unions, _, bounds, ramps, width = geometry
    places, ends = np.empty((planes.shape[0], 4)), np.empty((planes.shape[0], 4))
    across = np.empty(x.size)
    shift_u, shift_v = planes[0, 0, 2], planes[0, 1, 2]
    middle_u = 0.5 * (ramps[0, 0, 1] + ramps[0, 1, 0])
    middle_v = 0.5 * (ramps[0, 2, 1] + ramps[0, 3, 0])
    # Within its group (no turn: pixels only shift) a share is a product of one in u and one in v:
    # each is looked up where the other is 1. The groups' shares come on top, where others are:
    #
    #     a row of cells    |. . . . . . . . . . . . . . . . . . . . . . . . . . . . . . .|
    #     other unions               begin [= = = = = = = = = = = = = =] end
    #     long stretches    |-------128-------|-------128-------|-------128-------|
    #                         not met            evident: 0 or 1   |16|16|16|16|     not evident
    #     cell by cell                                                |. .|   where 16 aren't, too
    #
    # A stretch is evident if what both its ends tell holds for all between (`_evident_stretch`):
    # 2 points in place of 128. Depths of single cells, four divisions and two square roots a group,
    # are left for the few where shares really change.
    for i in range(x.size):
        across[i] = _ramp_share(x[i] + shift_u, middle_v, bounds[0], ramps[0])
    for j in range(y.size):
        along = _ramp_share(middle_u, y[j] + shift_v, bounds[0], ramps[0])
        begin, end = _met_by_others(y[j], planes, unions)
        for i in range(x.size):
            out[j, i] = across[i] * along if lit[j, i] else 0.0
        for start in range(0, x.size, _LONG_STRETCH):
            stop = min(start + _LONG_STRETCH, x.size)
            if x[stop - 1] < begin or x[start] > end:
                continue
            both = x[start], x[stop - 1]
            evident = _evident_row(both, y[j], planes, unions, places, ends, width[0])
            if evident == 0.0:
                out[j, start:stop] = 0.0
            if evident >= 0.0:
                continue
            for first in range(start, stop, _STRETCH):
                last = min(first + _STRETCH, stop) - 1
                if not lit[j, first : last + 1].any() or x[last] < begin or x[first] > end:
                    continue
                both = x[first], x[last]
                evident = _evident_row(both, y[j], planes, unions, places, ends, width[0])
                if evident == 0.0:
                    out[j, first : last + 1] = 0.0
                if evident >= 0.0:
                    continue
                for i in range(first, last + 1):
                    share = across[i] * along if lit[j, i] else 0.0
                    if share > 0.0 and begin <= x[i] <= end:
                        inside = _enter_planes(x[i], y[j], planes, unions, places)
                        share *= _group_share(0, inside, places, unions, width[0])
                        out[j, i] = share


@njit(cache=True, nogil=True)
def mark_lost(
    x: Floats,
    y: Floats,
    plane: Floats,
    bounds: Floats,
    weighty: Floats,
    invalid: NDArray[np.uint8],
    box: NDArray[np.int64],
    lost: NDArray[np.uint8],
) -> None:
    """Add to `lost` the bits of another skycell's cells that hold this one's cells' centres.

    Parameters
    ----------
    x, y : (nx,), (ny,) float64
        Pixel of the cells' centres.
    plane : (3, 3) float64
        Pixels of this skycell -> plane of the other's group.
    bounds : (4,) float64
        u0, v0, u1, v1 of the other one in that plane.
    weighty : (4,) float64
        The part of that where its bits count.
    invalid : (my, mx) uint8
        Bits of its cells of 8 pixels; one alone stands for all.
    box : (4,) int64
        First and one past the last column, then row, where that part can lie.
    lost : (ny, nx) uint8
        Bits of this skycell's cells; changed.
    """
    if plane[0, 0] == plane[1, 1] == plane[2, 2] == 1.0 and _is_shift(plane):
        _mark_shifted(x, y, plane, bounds, weighty, invalid, box, lost)
        return
    for j in range(box[2], box[3]):
        for i in range(box[0], box[1]):
            scale = 1.0 / (plane[2, 0] * x[i] + plane[2, 1] * y[j] + plane[2, 2])
            u = (plane[0, 0] * x[i] + plane[0, 1] * y[j] + plane[0, 2]) * scale
            v = (plane[1, 0] * x[i] + plane[1, 1] * y[j] + plane[1, 2]) * scale
            if weighty[0] < u < weighty[2] and weighty[1] < v < weighty[3]:
                # An eighth: 8 pixels to a cell. A last cell that is narrower ends with the skycell.
                column = min(int((u - bounds[0]) * 0.125), invalid.shape[1] - 1)
                row = min(int((v - bounds[1]) * 0.125), invalid.shape[0] - 1)
                lost[j, i] |= invalid[row, column]


@njit(cache=True, nogil=True)
def _is_shift(plane: Floats) -> bool:
    """Tell whether a matrix with a diagonal of ones only shifts."""
    others = abs(plane[0, 1]) + abs(plane[1, 0]) + abs(plane[2, 0]) + abs(plane[2, 1])
    return bool(others == 0.0)


@njit(cache=True, nogil=True)
def _mark_shifted(
    x: Floats,
    y: Floats,
    plane: Floats,
    bounds: Floats,
    weighty: Floats,
    invalid: NDArray[np.uint8],
    box: NDArray[np.int64],
    lost: NDArray[np.uint8],
) -> None:
    """Do as `mark_lost` where the planes are the same: one column for all rows."""
    columns = np.empty(x.size, np.int64)
    first, last = box[1], box[1]
    for i in range(box[0], box[1]):
        u = x[i] + plane[0, 2]
        inside = weighty[0] < u < weighty[2]
        column = min(int((u - bounds[0]) * 0.125), invalid.shape[1] - 1)
        columns[i] = column if inside else -1
        if inside:
            first, last = min(first, i), i + 1
    # Cells lie one after the other but for a last one that is narrower.
    regular = first
    while regular < last and columns[regular] == columns[first] + regular - first:
        regular += 1
    for j in range(box[2], box[3]):
        v = y[j] + plane[1, 2]
        if first < last and weighty[1] < v < weighty[3]:
            cells = invalid[min(int((v - bounds[1]) * 0.125), invalid.shape[0] - 1)]
            _or_into(cells[columns[first] :], lost[j, first:regular])
            for i in range(regular, last):
                if columns[i] >= 0:
                    lost[j, i] |= cells[columns[i]]


@njit(cache=True, nogil=True)
def _or_into(bits: NDArray[np.uint8], out: NDArray[np.uint8]) -> None:
    """Add bits to those of a row."""
    for i in range(out.size):
        out[i] |= bits[i]


@njit(cache=True, nogil=True)
def list_marked(
    marks: NDArray[np.uint8], row: NDArray[np.int64], column: NDArray[np.int64]
) -> None:
    """List the cells that are marked, in the order of memory; few are.

    Parameters
    ----------
    marks : (ny, nx) uint8
        Not zero where marked.
    row, column : (n,) int64
        Set; n marked cells.
    """
    k = 0
    for j in range(marks.shape[0]):
        cells = marks[j]
        for start in range(0, cells.size, _STRETCH):
            stop = min(start + _STRETCH, cells.size)
            found = np.uint8(0)
            for i in range(start, stop):
                found |= cells[i]
            if found:
                for i in range(start, stop):
                    if cells[i]:
                        row[k], column[k] = j, i
                        k += 1


@njit(cache=True, nogil=True)
def share_again(
    lost: NDArray[np.uint8],
    x: Floats,
    y: Floats,
    geometry: Geometry,
    invalid: tuple[NDArray[np.uint8], NDArray[np.int64]],
    out: NDArray[np.float32],
) -> None:
    """Share what skycells without valid data would have had among those that have some.

    Parameters
    ----------
    lost : (n,) uint8
        Cells of this skycell: bits of the bands to do.
    x, y : (n,) float64
        Pixels of the cells' centres.
    geometry : tuple
        See the module's head.
    invalid : (uint8 array, (k, 6) int64 array)
        The bits of the skycells' cells in one row; of each skycell: where its cells begin (-1: all
        valid), its number of rows and of columns (one cell alone stands for all), and which of
        them are there: first row, first column, number of columns.
    out : (bands, n) float32
        Weights of each band; changed where a skycell with a weight is lost. Left alone where no
        skycell has valid data.

    Notes
    -----
    With the weights w of all skycells, L the sum of those lost, and s the smoothstep of a skycell's
    own depth, a valid one gets (w + r L s) / (sum of the same over the valid ones), r = `RESERVE`.
    The plain w / (1 - L) would be 0/0 where only skycells hold data whose weight is zero there.
    """
    planes, unions, groups, bounds, _, width = geometry
    cells, index = invalid
    places = np.empty((planes.shape[0], 4))
    weights = np.empty((groups.size, 2))
    bits = np.empty(groups.size, dtype=np.int64)
    for i in range(lost.size):
        inside = _enter_planes(x[i], y[i], planes, unions, places)
        nobody = _look_up_bits(np.int64(lost[i]), places, groups, bounds, cells, index, bits)
        # Most lost cells lie where no other skycell does, or along edges where weights are zero.
        gone = 0.0
        for k in range(groups.size):
            if bits[k] & ~nobody:
                gone += _share(k, inside, places, geometry)
        if gone == 0.0:
            continue
        for k in range(groups.size):
            u, v = places[groups[k], 0], places[groups[k], 1]
            deep = _smoothstep(_depth(u, v, bounds[k]) / width[0])
            # Outside of a skycell its depth is 0, and so is its weight.
            weights[k, 0] = _share(k, inside, places, geometry) if deep > 0.0 else 0.0
            weights[k, 1] = deep
        for band in range(out.shape[0]):
            if lost[i] >> band & 1:
                share = _share_of_valid(weights, bits, band)
                if share >= 0.0:
                    out[band, i] = share


@njit(cache=True, nogil=True)
def _look_up_bits(
    lost: np.int64,
    places: Floats,
    groups: NDArray[np.int64],
    bounds: Floats,
    cells: NDArray[np.uint8],
    index: NDArray[np.int64],
    bits: NDArray[np.int64],
) -> int:
    """Fill in the bits of all skycells at a point; return those that nobody there has valid.

    Written without slices of arrays: counting the references to them would take most of the time.
    """
    nobody = lost
    for k in range(bits.size):
        u, v = places[groups[k], 0], places[groups[k], 1]
        bits[k] = 0
        if bounds[k, 0] < u < bounds[k, 2] and bounds[k, 1] < v < bounds[k, 3]:
            if index[k, 0] >= 0:
                column = min(int((u - bounds[k, 0]) * 0.125), index[k, 2] - 1) - index[k, 4]
                row = min(int((v - bounds[k, 1]) * 0.125), index[k, 1] - 1) - index[k, 3]
                bits[k] = cells[index[k, 0] + row * index[k, 5] + column]
            nobody &= bits[k]
    return int(nobody)


@njit(cache=True, nogil=True)
def _share_of_valid(weights: Floats, bits: NDArray[np.int64], band: int) -> float:
    """Return the weight of skycell 0 among those valid in a band, -1 where the plain one stays."""
    gone = 0.0
    for k in range(bits.size):
        gone += weights[k, 0] * (bits[k] >> band & 1)
    total = 0.0
    for k in range(bits.size):
        total += (weights[k, 0] + RESERVE * gone * weights[k, 1]) * (1 - (bits[k] >> band & 1))
    if gone == 0.0 or total == 0.0:
        return -1.0
    # The same term as in the sum: shares of all valid skycells add up to 1 but for rounding.
    own = (weights[0, 0] + RESERVE * gone * weights[0, 1]) * (1 - (bits[0] >> band & 1))
    return float(own / total)
