"""The sharing kernels against the formulas, written out with astropy's WCS and plain loops."""

import pickle

import numpy as np
import pytest
from smallsky import small_tessellation

from syndiff.errors import GeometryError
from syndiff.kernels.sharing import list_marked, mark_lost
from syndiff.sky.sharing import (
    Sharing,
    share_cells,
    share_lost_cells,
    share_valid_cells,
    sharing_of,
)
from syndiff.sky.tessellation import Tessellation

WIDTH = 320.0
RESERVE = 0.1


@pytest.fixture(scope="module")
def sky():
    """Two grids of 2 x 2 skycells turned against each other."""
    return small_tessellation(across=2, side=700, overlap=300)


def step(t):
    t = min(max(t, 0.0), 1.0)
    return 6 * t**5 - 15 * t**4 + 10 * t**3


def depth(rectangle, u, v):
    u0, v0, u1, v1 = rectangle
    sides = u - u0, u1 - u, v - v0, v1 - v
    return sum(side**-4.0 for side in sides) ** -0.25 if min(sides) > 0 else 0.0


def rectangle_of(skycell):
    u0, v0 = 0.5 - skycell.crpix[0], 0.5 - skycell.crpix[1]
    return u0, v0, u0 + skycell.nx, v0 + skycell.ny


def union_of(skycells):
    corners = np.array([rectangle_of(skycell) for skycell in skycells])
    return (*corners[:, :2].min(axis=0), *corners[:, 2:].max(axis=0))


def ramp(spans, own, place):
    """Return the share of span `own` among the spans along one axis."""
    share = 1.0
    for begin, end in spans:
        overlap = max(begin, own[0]), min(end, own[1])
        if (begin, end) == own or overlap[1] <= overlap[0]:
            continue
        both = overlap[1] - overlap[0]
        # Seven arcsec of the edges, if as much is left, have no weight.
        width = min(WIDTH, max(both - 56, both / 2))
        rising = step(0.5 + (place - sum(overlap) / 2) / width)
        share *= rising if begin < own[0] else 1 - rising
    return share


def slow_weights(sky, skycell, x, y):
    """Return the weight and the own depth of every skycell at a pixel of one, by name."""
    position = skycell.wcs.all_pix2world(x, y, 0)
    groups = {}
    for other in sky:
        groups.setdefault(other.projection_cell, []).append(other)
    places, depths = {}, {}
    for key, members in groups.items():
        px, py = members[0].wcs.all_world2pix(*position, 0)
        places[key] = px + 1 - members[0].crpix[0], py + 1 - members[0].crpix[1]
        depths[key] = depth(union_of(members), *places[key])
    precedence = {
        g: float(depths[g] > 0)
        * np.prod([versus(depths[g], depths[t]) for t in groups if t != g and depths[t] > 0])
        for g in groups
    }
    result = {}
    for key, members in groups.items():
        u, v = places[key]
        rectangles = [rectangle_of(member) for member in members]
        for member, own in zip(members, rectangles, strict=True):
            alone = depth(own, u, v)
            share = ramp({r[::2] for r in rectangles}, own[::2], u)
            share *= ramp({r[1::2] for r in rectangles}, own[1::2], v)
            group = precedence[key] / sum(precedence.values()) if alone > 0 else 0.0
            result[member.name] = (share * group, step(alone / WIDTH))
    return result


def versus(own, other):
    reach = ((own + other) ** -4.0 + WIDTH**-4.0) ** -0.25
    return step(0.5 + (own - other) / (2 * reach))


@pytest.mark.parametrize("name", ["skycell.7000.000", "skycell.7000.003", "skycell.7001.001"])
def test_points_agree_with_the_formulas(sky, name):
    skycell = sky[name]
    sharing = sharing_of(sky, skycell)
    rng = np.random.default_rng(3)
    x, y = rng.uniform(0, 699, (2, 40))
    of_all = [sharing.weight(x, y, of=other) for other in sharing.names]
    for i in range(x.size):
        slow = slow_weights(sky, skycell, x[i], y[i])
        fast = dict(zip(sharing.names, np.array(of_all)[:, i], strict=True))
        for other, (weight, _) in slow.items():
            # astropy's way over the sky rounds to 1e-9 px; the steepest ramp has 0.01 a pixel.
            assert fast.get(other, 0.0) == pytest.approx(weight, abs=1e-10)


@pytest.mark.parametrize("cell_px", [8, 32])
def test_lit_cells_get_the_weight_at_their_centre(sky, cell_px):
    sharing = sharing_of(sky, sky["skycell.7001.001"])
    x, y = sharing.centres(cell_px)
    lit = np.random.default_rng(4).random((y.size, x.size)) < 0.3
    expected = np.where(lit, sharing.weight(*np.meshgrid(x, y)), 0.0).astype(np.float32)
    shares = share_cells(sharing, lit, cell_px=cell_px)
    assert shares.dtype == np.float32
    # The product of the ramps is taken in another order: one step of float32.
    np.testing.assert_allclose(shares, expected, rtol=2e-7)
    np.testing.assert_array_equal(shares, share_cells(sharing, lit.view(np.uint8), cell_px=cell_px))


def test_centres_stay_inside(sky):
    x, y = sharing_of(sky, sky["skycell.7000.000"]).centres()
    assert x.size == y.size == 88
    # 700 = 87 * 8 + 4: the last cell's nominal centre, 699.5, lies on the edge.
    np.testing.assert_array_equal(x[[0, 1, 86, 87]], [3.5, 11.5, 691.5, 699.0])


def test_validity_agrees_with_the_formulas(sky):
    skycell = sky["skycell.7000.003"]
    sharing = sharing_of(sky, skycell)
    rng = np.random.default_rng(5)
    cells = -(-skycell.nx // 8)
    invalid = {name: blotches(rng, cells) for name in sharing.names[:-1]}
    invalid[sharing.names[-1]] = 0b0101
    lit = rng.random((cells, cells)) < 0.02
    shares = share_valid_cells(sharing, lit, invalid)
    x, y = sharing.centres()
    changed = 0
    for j, i in np.argwhere(lit):
        slow = slow_weights(sky, skycell, x[i], y[j])
        bits = {
            name: bits_at(sky, skycell, sky[name], given, x[i], y[j])
            for name, given in invalid.items()
        }
        for band in range(4):
            expected = slow_share(slow, bits, skycell.name, band)
            changed += abs(expected - slow[skycell.name][0]) > 0.1
            assert shares[band][j, i] == pytest.approx(expected, abs=2e-7)
    assert changed > 20
    assert all((share[~lit] == 0).all() for share in shares)


def blotches(rng, cells):
    """Return random bits in square blotches of 11 cells."""
    blocks = rng.integers(0, 16, (cells // 11, cells // 11)) & rng.integers(0, 16, (8, 8))
    return np.kron(blocks, np.ones((11, 11), dtype=np.int64)).astype(np.uint8)


def bits_at(sky, skycell, other, given, x, y):
    """Return the bits of another skycell's cell at a pixel of one; 0 outside it."""
    px, py = other.wcs.all_world2pix(*skycell.wcs.all_pix2world(x, y, 0), 0) + np.array(0.5)
    if not (0 < px < other.nx and 0 < py < other.ny):
        return 0
    return given if np.ndim(given) == 0 else int(given[int(py / 8), int(px / 8)])


def slow_share(slow, bits, name, band):
    """Return the share of one skycell among those that are valid in a band."""
    valid = [one for one in slow if not bits.get(one, 0) >> band & 1]
    gone = sum(weight for one, (weight, _) in slow.items() if one not in valid)
    value = {one: slow[one][0] + RESERVE * gone * slow[one][1] for one in valid}
    total = sum(value.values())
    if gone == 0 or total == 0:
        return slow[name][0]
    return value.get(name, 0.0) / total


def test_bands_that_lose_nothing_share_one_array(sky):
    sharing = sharing_of(sky, sky["skycell.7000.003"])
    lit = np.ones((88, 88), bool)
    shares = share_valid_cells(sharing, lit, {sharing.neighbours[0]: 0b0010, "elsewhere": 15})
    assert shares[0] is shares[2] is shares[3]
    assert (shares[1] > shares[0]).any()
    np.testing.assert_array_equal(shares[0], share_cells(sharing, lit))
    assert len({id(share) for share in share_valid_cells(sharing, lit, {})}) == 1


@pytest.mark.parametrize("side", [697, 700, 704])
def test_validity_of_odd_and_even_sides(side):
    """Every cell's bits are taken, the jutting ones too, of a skycell that has no other beside."""
    alone = small_tessellation(across=1, side=side, overlap=0)
    sharing = sharing_of(alone, alone["skycell.7000.000"])
    invalid = np.zeros((-(-side // 8), -(-side // 8)), np.uint8)
    invalid[-1, -1] = 0b1111
    nothing = np.zeros(invalid.shape, bool)
    _, lost = share_lost_cells(sharing, nothing, {"skycell.7000.000": invalid})
    assert (lost.row.tolist(), lost.column.tolist()) == (
        [invalid.shape[0] - 1],
        [invalid.shape[1] - 1],
    )


def test_edges_without_a_weight_are_not_lost():
    """Of a skycell in the middle of its grid."""
    rings = Tessellation.rings_v3()
    name = "skycell.2556.055"
    sharing = sharing_of(rings, rings[name])
    own = rings[name]
    invalid = np.zeros((-(-own.ny // 8), -(-own.nx // 8)), np.uint8)
    invalid[[0, -1]] = invalid[:, [0, -1]] = 0b1111
    nothing = np.zeros(invalid.shape, bool)
    _, lost = share_lost_cells(sharing, nothing, {name: invalid})
    assert lost.row.size == 0
    assert (share_valid_cells(sharing, ~nothing, {name: invalid})[0][invalid != 0] == 0).all()


def test_lost_cells_are_those_whose_weights_differ(sky):
    sharing = sharing_of(sky, sky["skycell.7000.003"])
    rng = np.random.default_rng(6)
    invalid = {name: blotches(rng, 88) for name in sharing.names}
    lit = rng.random((88, 88)) < 0.5
    plain, lost = share_lost_cells(sharing, lit, invalid)
    everywhere = share_valid_cells(sharing, np.ones_like(lit), invalid)
    for band, shares in enumerate(everywhere):
        rebuilt = share_cells(sharing, np.ones_like(lit))
        rebuilt[lost.row, lost.column] = lost.shares[band]
        np.testing.assert_array_equal(rebuilt, shares)
    wanted = lit.copy()
    wanted[lost.row, lost.column] = True
    np.testing.assert_array_equal(plain, share_cells(sharing, wanted))


def test_a_skycell_alone_counts_fully(sky):
    """Where all neighbours are absent, even the edges count, and nothing is 0/0."""
    sharing = sharing_of(sky, sky["skycell.7000.003"])
    everywhere = np.ones((88, 88), bool)
    shares = share_valid_cells(sharing, everywhere, dict.fromkeys(sharing.neighbours, 15))
    np.testing.assert_array_equal(shares[0], 1.0)
    nowhere = share_valid_cells(sharing, everywhere, dict.fromkeys(sharing.names, 15))
    np.testing.assert_array_equal(nowhere[3], share_cells(sharing, everywhere))


def test_sharing_is_small_and_survives_pickling():
    rings = Tessellation.rings_v3()
    sharing = sharing_of(rings, rings["skycell.2180.097"])
    packed = pickle.dumps(sharing)
    assert len(packed) < 4000
    sent: Sharing = pickle.loads(packed)
    x = np.linspace(0, 6000, 50)
    np.testing.assert_array_equal(sent.weight(x, 6200.0), sharing.weight(x, 6200.0))


def test_impossible_arguments(sky):
    sharing = sharing_of(sky, sky["skycell.7000.003"])
    lit = np.ones((88, 88), bool)
    with pytest.raises(GeometryError, match=r"lit has shape \(3, 3\): the cells of .* \(88, 88\)"):
        share_cells(sharing, np.ones((3, 3), bool))
    invalid = {"skycell.7000.000": np.zeros((2, 88), np.uint8)}
    with pytest.raises(GeometryError, match=r"cells of skycell.7000.000 have shape \(2, 88\): its"):
        share_valid_cells(sharing, lit, invalid)
    with pytest.raises(
        GeometryError, match=r"nowhere does not overlap skycell.7000.003: its neigh"
    ):
        sharing.weight(0.0, 0.0, of="nowhere")
    with pytest.raises(GeometryError, match=r"no skycell 'skycell.2180.097'"):
        sharing_of(sky, Tessellation.rings_v3()["skycell.2180.097"])


@pytest.mark.parametrize(("size", "shift"), [(40, 0.0), (40, 24.0), (37, -16.0), (37, 19.5)])
def test_neighbours_on_the_same_plane_agree_with_a_loop_over_cells(size, shift):
    """Shifted by whole cells or not, with a last cell that is narrower or not."""
    rng = np.random.default_rng(size)
    x = np.minimum(8.0 * np.arange(9) + 3.5, 66.0)
    plane = np.eye(3)
    plane[:2, 2] = shift, 5.0
    bounds = np.array([10.0, 8.0, 10.0 + size, 8.0 + size])
    weighty = bounds + np.array([6.0, 0.0, -4.0, 0.0])
    cells = -(-size // 8)
    invalid = rng.choice(np.array([0, 0, 1, 15], np.uint8), (cells, cells))
    found = rng.choice(np.array([0, 2], np.uint8), (9, 9))
    wanted = found.copy()
    for j, i in np.ndindex(9, 9):
        u, v = x[i] + shift, x[j] + 5.0
        if weighty[0] < u < weighty[2] and bounds[1] < v < bounds[3]:
            row, column = int((v - bounds[1]) // 8), int((u - bounds[0]) // 8)
            wanted[j, i] |= invalid[row, column]
    mark_lost(x, x, plane, bounds, weighty, invalid, np.array([0, 9, 0, 9]), found)
    np.testing.assert_array_equal(found, wanted)


def test_marked_cells_are_listed_in_order():
    rng = np.random.default_rng(4)
    marks = (rng.random((7, 45)) < 0.1).astype(np.uint8) * np.uint8(4)
    row, column = np.full((2, np.count_nonzero(marks)), -1)
    list_marked(marks, row, column)
    np.testing.assert_array_equal((row, column), np.nonzero(marks))
