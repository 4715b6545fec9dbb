"""Weights sum to one everywhere, vanish at edges and vary smoothly."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from smallsky import small_tessellation

from syndiff.sky.sharing import sharing_of
from syndiff.sky.skycell_groups import RAMP_ARCSEC, groups_of
from syndiff.sky.tessellation import Tessellation

STEEPEST = 1.875 / RAMP_ARCSEC
"""Slope per arcsec of the smoothstep in its middle."""

# Some 30,000 pairs of points 2" apart near the borders of RINGS.V3 north of dec -30 reached 1.4
# times that: where three projections meet, products and quotients of ramps add up.
RINGS_SLOPE = 2 * STEEPEST

RINGS = Tessellation.rings_v3()
SMALL = small_tessellation(overlap=120)

# Where three projections meet, on RA 0 and elsewhere; the pole, and beside it; the border at -30.
CORNERS = [(235.22728, 12.004142), (0.0, 0.0), (2.0, 0.0), (0.0, 90.0), (20.0, 87.97), (0.0, -28.0)]


def direction(ra_deg, dec_deg):
    ra, dec = np.deg2rad(ra_deg), np.deg2rad(dec_deg)
    return np.array([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)])


def views(tessellation, point):
    """Return every skycell that holds a point, and the point's pixel there."""
    near = np.flatnonzero(tessellation._centres @ point >= np.cos(tessellation._largest) - 1e-9)
    found = []
    for name in tessellation.table.names[near]:
        skycell = tessellation[str(name)]
        x, y, scale = np.linalg.solve(skycell.pixel_to_direction, point)
        if -0.5 < x / scale < skycell.nx - 0.5 and -0.5 < y / scale < skycell.ny - 0.5:
            found.append((skycell, x / scale, y / scale))
    return found


def check_shares(tessellation, point, slope_limit):
    """Check all that must hold at one point."""
    found = views(tessellation, point)
    total = 0.0
    for skycell, x, y in found:
        sharing = sharing_of(tessellation, skycell)
        of_all = [float(sharing.weight(x, y, of=name)) for name in sharing.names]
        assert all(0.0 <= weight <= 1.0 for weight in of_all)
        # As one skycell sees them, weights sum to one but for a few roundings.
        assert sum(of_all) == pytest.approx(1.0, abs=1e-12)
        total += of_all[0]
        around = np.linspace(0, 2 * np.pi, 8, endpoint=False)
        steps = sharing.weight(x + 8 * np.cos(around), y + 8 * np.sin(around))
        inside = np.minimum(skycell.nx, skycell.ny) - 10 > max(x, y) > min(x, y) > 10
        if inside:
            assert np.abs(steps - of_all[0]).max() <= 2 * slope_limit
    # Each has its own pixels, whose way over the sky rounds to some 1e-10 px; a narrow ramp rises
    # by 0.1 a pixel.
    assert total == pytest.approx(1.0, abs=1e-10)
    return len(found)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(ra=st.floats(0, 360), sine=st.floats(-0.5, 1))
@example(ra=0.0, sine=0.3)
@example(ra=360.0, sine=1.0)
def test_rings_anywhere(ra, sine):
    assert check_shares(RINGS, direction(ra, np.rad2deg(np.arcsin(sine))), RINGS_SLOPE) >= 1


@pytest.mark.parametrize("corner", CORNERS)
def test_rings_where_projections_meet(corner):
    rng = np.random.default_rng(6)
    counts = []
    for _ in range(12):
        # Within 2.5 arcmin: all of the overlaps around a corner.
        point = direction(*corner) + rng.uniform(-7e-4, 7e-4, 3)
        counts.append(check_shares(RINGS, point / np.linalg.norm(point), RINGS_SLOPE))
    assert max(counts) >= 2


def slope_in_small_overlaps(tessellation, point, overlap_arcsec):
    """Return the slope to allow: ramps are as wide as overlaps, and shrink to corners of unions."""
    # Points two steps of 2" from where unions' edges cross have no slope to speak of.
    width = min(overlap_arcsec, max(deepest(tessellation, point) - 4.0, 1e-3))
    return 3 * STEEPEST * RAMP_ARCSEC / width


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    x=st.floats(-0.4, 999.4),
    y=st.floats(-0.4, 999.4),
    name=st.sampled_from(["skycell.7000.005", "skycell.7000.003", "skycell.7001.012"]),
)
@example(x=-0.4, y=-0.4, name="skycell.7000.005")
def test_small_turned_projections(x, y, name):
    pointed = SMALL[name].pixel_to_direction @ [x, y, 1.0]
    point = pointed / np.linalg.norm(pointed)
    check_shares(SMALL, point, slope_in_small_overlaps(SMALL, point, 30.0))


def test_incomplete_grids_share_too():
    """Without one of its skycells a projection's others are groups of their own."""
    whole = small_tessellation(across=3)
    rows = np.flatnonzero(whole.table.names != "skycell.7000.004")
    holed = Tessellation(whole.table.take(rows))
    assert len(groups_of(whole).union) == 2
    assert len(groups_of(holed).union) == 9
    rng = np.random.default_rng(7)
    counts = []
    for x, y in rng.uniform(0, 999, (40, 2)):
        pointed = holed["skycell.7000.005"].pixel_to_direction @ [x, y, 1.0]
        point = pointed / np.linalg.norm(pointed)
        counts.append(check_shares(holed, point, slope_in_small_overlaps(holed, point, 50.0)))
    assert max(counts) >= 2


@pytest.mark.parametrize("name", ["skycell.2556.082", "skycell.1648.009", "skycell.2643.000"])
def test_weight_vanishes_at_edges(name):
    """Along a skycell's border other ones count in full."""
    skycell = RINGS[name]
    sharing = sharing_of(RINGS, skycell)
    along = np.linspace(-0.5, skycell.ny - 0.5, 200)
    for edge in (-0.5, skycell.nx - 0.5):
        assert sharing.weight(edge, along).max() == 0.0
    assert sharing.weight(along, -0.5).max() == 0.0
    assert sharing.weight(along, skycell.ny - 0.5).max() == 0.0


def test_projections_overlap_enough_for_the_ramp():
    """Wherever one looks north of dec -30, some projection has its edges 52" away or more."""
    rng = np.random.default_rng(8)
    depths = [deepest(RINGS, direction(*corner)) for corner in CORNERS]
    for ra, sine in zip(rng.uniform(0, 360, 80), rng.uniform(-0.5, 1, 80), strict=True):
        depths.append(deepest(RINGS, direction(ra, np.rad2deg(np.arcsin(sine)))))
    # 400,000 random points, followed downhill, found 52.73" at least: at CORNERS[0].
    assert 52.7 < min(depths) < 53.0


def deepest(tessellation, point):
    """Return how deep a point lies in the group that holds it best, arcsec."""
    found = -np.inf
    groups = groups_of(tessellation)
    for skycell, x, y in views(tessellation, point):
        group = groups.number[tessellation.row(skycell.name)]
        u0, v0, u1, v1 = groups.union[group]
        u, v = x + 1 - skycell.crpix[0], y + 1 - skycell.crpix[1]
        found = max(found, min(u - u0, u1 - u, v - v0, v1 - v) * 0.25)
    return found


# Stars


def light_of_star(x, y, sigma_px):
    """Return a Gaussian star's light on 2" cells as the reduction makes it, and the cells."""
    cells, light = [], []
    for place in (x, y):
        box = 2 * np.arange(np.floor(place / 2) - 16, np.floor(place / 2) + 17) + 0.5
        flux = np.exp(-0.5 * ((box - place) / sigma_px) ** 2)
        index = np.arange(np.floor(place / 8) - 6, np.floor(place / 8) + 7)
        apart = np.abs((box - (8 * index[:, None] + 3.5)) / 8)
        spline = np.where(apart < 0.5, 0.75 - apart**2, 0.5 * np.maximum(1.5 - apart, 0) ** 2)
        cells.append(8 * index + 3.5)
        light.append(spline @ flux / flux.sum())
    return np.outer(light[1], light[0]), *np.meshgrid(*cells)


@pytest.mark.parametrize("corner", [CORNERS[0], CORNERS[2], (12.0, 88.0)])
def test_stars_keep_their_flux_where_projections_meet(corner):
    rng = np.random.default_rng(9)
    errors = []
    for _ in range(25):
        point = direction(*corner) + rng.uniform(-2.5e-4, 2.5e-4, 3)
        point /= np.linalg.norm(point)
        flux = 0.0
        for skycell, x, y in views(RINGS, point):
            # Seeing of 0.8", the sharpest that PS1 has.
            light, cell_x, cell_y = light_of_star(x, y, 0.8 / 2.355 / 0.25)
            flux += (light * sharing_of(RINGS, skycell).weight(cell_x, cell_y)).sum()
        errors.append(flux - 1)
    # A star is to keep its flux to 1e-4 through the whole chain.
    assert np.abs(errors).max() < 4e-5
