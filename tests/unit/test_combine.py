"""What a skycell adds to a scene: bands weighted, overlaps shared, what lacks told."""

import numpy as np
import pytest
from smallsky import small_catalogue

from syndiff.config import BAND_WEIGHTS, BANDS
from syndiff.masks import DataQuality
from syndiff.scenes.combine import COARSE_PLANES, combine, contribute_nothing
from syndiff.scenes.standing_in import stand_in_weights
from syndiff.settings import Settings
from syndiff.simulation.sky import Cap, SkyConfig, TestStar, make_sources
from syndiff.sky.sharing import sharing_of
from syndiff.sky.tessellation import Tessellation
from syndiff.stacks.coding import asinh_encode, variance_encode
from syndiff.stacks.reduction import ReducedSkycell

MATCHED = Settings()
NONE = Settings(background="none")
ALONE, PAIR = 1, 2


def sky(skycells):
    """The first skycells of a projection, 1000 pixels each, 200 of them in common."""
    lines = small_catalogue(across=2).splitlines()
    tessellation = Tessellation.from_csv("\n".join(lines[: 1 + skycells]).encode())
    return tessellation, list(tessellation)


def reduce_by_hand(skycell, bands=BANDS, *, light=None, **changes):
    """A skycell with all its pixels valid and light of 1, 2, 3, 4 in each cell of r, i, z, y."""
    (ny, nx), nb = skycell.shape, len(bands)
    n2, n8 = (-(-ny // 8), -(-nx // 8)), (-(-ny // 32), -(-nx // 32))
    sides = [np.minimum(32, n - np.arange(0, n, 32)) for n in (ny, nx)]
    count = np.outer(*sides)
    if light is None:
        light = np.stack([np.full(n2, 1.0 + BANDS.index(band)) for band in bands])
    zero8 = np.zeros((nb, *n8), np.uint16)
    planes = {
        "name": skycell.name,
        "shape": skycell.shape,
        "bands": tuple(bands),
        "light": asinh_encode(light, 1.0),
        "light_sigma": np.ones(nb),
        "left_out": np.zeros((nb, *n2), np.int16),
        "faint": np.zeros((nb, *n8), np.int16),
        "faint_sigma": np.ones(nb),
        "level": np.zeros((nb, -(-ny // 256), -(-nx // 256)), np.float32),
        "variance": np.stack([variance_encode(np.stack([2.0 * count, 0.0 * count]), 32.0)] * nb),
        "variance_sigma": np.full(nb, 32.0),
        "count": np.stack([count] * nb).astype(np.uint16),
        "left_out_count": zero8,
        "flagged": zero8,
        "mask": np.zeros(n2, np.uint16),
        "valid": np.full(n2, sum(1 << BANDS.index(band) for band in bands), np.uint8),
        "noise_correlation": 1.5,
        "meta": {},
    }
    return ReducedSkycell(**(planes | changes))


def combined(tessellation, reduced, settings=MATCHED, holes=None):
    skycell = tessellation[reduced.name]
    sharing = sharing_of(tessellation, skycell)
    return combine(reduced, skycell=skycell, sharing=sharing, holes=holes or {}, settings=settings)


def coarse(found, name):
    return found.coarse[COARSE_PLANES.index(name)]


def inside(plane):
    """Without the rim, where weights fall to zero."""
    return plane[2:-2, 2:-2]


MEAN = float(np.dot(BAND_WEIGHTS, [1, 2, 3, 4]))


def test_bands_are_summed_by_weight():
    tessellation, (skycell,) = sky(ALONE)
    found = combined(tessellation, reduce_by_hand(skycell))
    # a code's step is a sixteenth of sigma, which is 1 here
    np.testing.assert_allclose(inside(found.light), MEAN, atol=1 / 32)
    assert (found.flags == 0).all()
    count = inside(coarse(found, "count"))
    np.testing.assert_allclose(count, 1024, rtol=1e-6)
    np.testing.assert_allclose(inside(coarse(found, "full")), count, rtol=1e-6)
    assert np.abs(coarse(found, "missing")).max() < 1e-3


def test_variances_are_summed_by_squared_weight_and_correlation():
    tessellation, (skycell,) = sky(ALONE)
    found = inside(coarse(combined(tessellation, reduce_by_hand(skycell), NONE), "variance"))
    wanted = 1.5**2 * 2.0 * 1024 * np.sum(np.square(BAND_WEIGHTS))
    # steps of 1/64 octave
    np.testing.assert_allclose(found, wanted, rtol=0.006)


def test_skycells_share_the_noise_of_the_same_exposures():
    """Their mean is no quieter than either: variance is shared as light is."""
    tessellation, skycells = sky(PAIR)
    found = [
        coarse(combined(tessellation, reduce_by_hand(skycell), NONE), "variance")
        for skycell in skycells
    ]
    wanted = 1.5**2 * 2.0 * np.sum(np.square(BAND_WEIGHTS))
    total = sum(plane.sum(dtype=float) for plane in found)
    # 1800 x 1000 pixels, codes of 1 %, and the rim
    assert total == pytest.approx(wanted * 1800 * 1000, rel=0.01)


def test_undetected_light_and_level_come_back_when_asked():
    tessellation, (skycell,) = sky(ALONE)
    shape = (4, 32, 32)
    faint = asinh_encode(np.random.default_rng(5).normal(scale=100, size=shape), 1.0)
    level = np.full((4, 4, 4), 0.25, np.float32)
    reduced = reduce_by_hand(skycell, faint=faint, level=level)
    with_all, detected = (combined(tessellation, reduced, config) for config in (NONE, MATCHED))
    added = (with_all.light - detected.light)[8:-8, 8:-8]
    # of 24 x 24 whole 8-arcsec cells; the blur takes light over the border: 2 cells of 100 sigma
    level_sum = 0.25 * 64 * added.size
    assert added.sum() == pytest.approx(level_sum, rel=0.02)
    assert added.std() > 1


def test_neighbours_share_without_loss():
    """Two skycells of one grid: what both hold counts once."""
    tessellation, skycells = sky(PAIR)
    found = [combined(tessellation, reduce_by_hand(skycell)) for skycell in skycells]
    # 1000 + 1000 - 200 pixels wide; the rim in which weights fall to zero alike
    for name in ("count", "full"):
        total = sum(coarse(item, name).sum(dtype=float) for item in found)
        assert total == pytest.approx(1800 * 1000, rel=2e-3)
    light = sum(item.light.sum(dtype=float) for item in found)
    assert light == pytest.approx(MEAN * 225 * 125, rel=0.02)


def test_where_a_neighbour_is_absent_this_one_counts():
    tessellation, (one, other) = sky(PAIR)
    shared = combined(tessellation, reduce_by_hand(one))
    alone = combined(tessellation, reduce_by_hand(one), holes={other.name: 15})
    assert alone.light.sum() > 1.05 * shared.light.sum()
    np.testing.assert_allclose(inside(alone.light), MEAN, atol=1 / 32)
    nothing = contribute_nothing(
        other, sharing=sharing_of(tessellation, other), holes={}, failed=False
    )
    assert (nothing.light == 0).all()
    assert (nothing.flags == 0).all()
    # what nobody has: the other's 800 columns of its own
    assert coarse(nothing, "missing").sum() == pytest.approx(800 * 1000, rel=0.02)
    full = coarse(nothing, "full").sum() + coarse(alone, "full").sum()
    assert full == pytest.approx(1800 * 1000, rel=2e-3)


def test_failed_skycells_are_flagged_where_nobody_stands_in():
    tessellation, (one, other) = sky(PAIR)
    sharing = sharing_of(tessellation, one)
    found = contribute_nothing(one, sharing=sharing, holes={}, failed=True)
    flagged = found.flags == DataQuality.FAILED_SKYCELL
    assert set(np.unique(found.flags)) == {0, DataQuality.FAILED_SKYCELL}
    # 800 of 1000 columns are its own
    assert flagged.mean() == pytest.approx(0.8, abs=0.02)
    both = contribute_nothing(one, sharing=sharing, holes={other.name: 15}, failed=True)
    # along its edges towards neighbours it has no weight
    assert (both.flags == DataQuality.FAILED_SKYCELL).mean() > 0.96


def star_flux(r_minus_i):
    """Flux in r, i, z, y of a star whose composite flux is 1000, from the simulator's locus."""
    star = TestStar(0.0, 0.0, 17.5, r_minus_i=r_minus_i)
    found = make_sources(SkyConfig(0.0, 0.0, stars=(star,)), Cap((0.0, 0.0, 1.0), 0.1))
    assert found.composite_flux[0] == pytest.approx(1000)
    return found.flux[0]


def light_of(flux, shape=(125, 125)):
    return np.broadcast_to(flux[:, None, None], (len(flux), *shape))


@pytest.mark.parametrize("r_minus_i", [0.0, 0.3, 0.6, 1.0])
@pytest.mark.parametrize("missing", [0, 1, 2, 3])
def test_a_missing_band_is_stood_in_for_by_the_others_and_flagged(missing, r_minus_i):
    """By each cell's own colour: blue and red stars come out right alike."""
    tessellation, (skycell,) = sky(ALONE)
    there = [k for k in range(4) if k != missing]
    reduced = reduce_by_hand(
        skycell, [BANDS[k] for k in there], light=light_of(star_flux(r_minus_i)[there])
    )
    found = combined(tessellation, reduced, NONE)
    # by the mean colour of stars it would be 11, 5, 9 and 8 % for the reddest
    np.testing.assert_allclose(inside(found.light), 1000, rtol=0.025)
    assert (inside(found.flags) == DataQuality.MISSING_BAND).all()
    lost = inside(coarse(found, "missing"))
    np.testing.assert_allclose(lost, BAND_WEIGHTS[missing] * 1024, rtol=1e-5)
    np.testing.assert_allclose(inside(coarse(found, "count")), 1024 - lost, rtol=1e-5)
    # the noise of what stands in: weights on the bands that are there
    weights = stand_in_weights()[1 << missing]
    noise = 1.5**2 * 2.0 * 1024 * (weights**2).sum()
    # codes step by 1 %
    np.testing.assert_allclose(inside(coarse(found, "variance")), noise, rtol=0.02)


def test_a_gap_in_one_band_is_filled_by_the_colour_of_the_light_there():
    """A red star on the gap, blue light elsewhere: the star counts as red, the rest as blue."""
    tessellation, (skycell,) = sky(ALONE)
    light = np.array(light_of(star_flux(0.0)))
    light[:, 60:66, 40:46] = star_flux(1.0)[:, None, None]
    valid = np.full((125, 125), 15, np.uint8)
    valid[50:80, 40:46] = 15 & ~1
    light[0, 50:80, 40:46] = 0
    found = combined(tessellation, reduce_by_hand(skycell, light=light, valid=valid))
    np.testing.assert_allclose(inside(found.light), 1000, rtol=0.045)
    # blue light as the skycell's own colour says, without the error of one line for all stars
    np.testing.assert_allclose(found.light[50:60, 40:46], 1000, rtol=0.002)
    assert (found.flags[50:80, 40:46] == DataQuality.MISSING_BAND).all()
    assert not found.flags[:50].any()


def test_where_every_band_is_missing_nothing_stands_in():
    tessellation, (skycell,) = sky(ALONE)
    light = np.array(light_of(star_flux(0.3)))
    valid = np.full((125, 125), 15, np.uint8)
    valid[50:80, 40:46] = 0
    # what the fewer half of a cell's pixels hold stays as it is
    light[:, 50:80, 40:46] = 3.0
    found = combined(tessellation, reduce_by_hand(skycell, light=light, valid=valid))
    np.testing.assert_allclose(found.light[50:80, 40:46], 3.0, atol=0.1)


def test_holes_beside_bright_light_are_flagged():
    """A star's light reaches into a hole in its core; a hole in the dark holds nothing."""
    tessellation, (skycell,) = sky(ALONE)
    light = np.zeros((4, 125, 125))
    light[:, 38:45, 48:55] = 1000.0
    light[:, 40:43, 50:53] = 0
    valid = np.full((125, 125), 15, np.uint8)
    for middle in ((41, 51), (90, 90)):
        rows, columns = (slice(m - 1, m + 2) for m in middle)
        valid[rows, columns] = 0
    found = combined(tessellation, reduce_by_hand(skycell, light=light, valid=valid))
    flagged = np.zeros_like(found.flags)
    flagged[40:43, 50:53] = DataQuality.LEFT_OUT_LIGHT
    np.testing.assert_array_equal(found.flags, flagged)


def test_masked_pixels_are_flagged():
    tessellation, (skycell,) = sky(ALONE)
    mask = np.zeros((125, 125), np.uint16)
    mask[40, 50], mask[60, 70], mask[90, 90] = 32, 4096, 4096
    left_out = np.zeros((4, 32, 32), np.uint16)
    left_out[1, 60 // 4, 70 // 4] = 3
    flagged = np.zeros((4, 32, 32), np.uint16)
    flagged[:, 10, 12] = 5
    reduced = reduce_by_hand(skycell, mask=mask, left_out_count=left_out, flagged=flagged)
    found = combined(tessellation, reduced)
    assert {(j, i): int(found.flags[j, i]) for j, i in np.argwhere(found.flags)} == {
        (40, 50): DataQuality.SATURATED_IN_PS1,
        (60, 70): DataQuality.LEFT_OUT_LIGHT,
    }
    assert coarse(found, "flagged").sum() == pytest.approx(5, rel=1e-6)


def test_masks_only_grow():
    """More bits in the mask, fewer valid pixels: never fewer flags, never more counted."""
    tessellation, (skycell,) = sky(ALONE)
    rng = np.random.default_rng(9)
    bits = np.array([0, 0, 0, 32, 4096], np.uint16)
    less = rng.choice(bits, (125, 125))
    more = less | rng.choice(bits, (125, 125))
    valid = np.full((125, 125), 15, np.uint8)
    fewer = valid & ~(rng.random((125, 125)) < 0.1).astype(np.uint8)
    left_out = np.ones((4, 32, 32), np.uint16)
    first = combined(tessellation, reduce_by_hand(skycell, mask=less, left_out_count=left_out))
    second = combined(
        tessellation, reduce_by_hand(skycell, mask=more, valid=fewer, left_out_count=left_out)
    )
    assert (first.flags & ~second.flags == 0).all()
    assert (coarse(second, "count") <= coarse(first, "count") + 1e-3).all()
