"""What a skycell adds to a scene: bands weighted, overlaps shared, what lacks told."""

import numpy as np
import pytest
from smallsky import small_catalogue

from syndiff.coding import asinh_encode, variance_encode
from syndiff.combine import COARSE_PLANES, CombineConfig, combine, contribute_nothing
from syndiff.config import BAND_WEIGHTS, BANDS
from syndiff.masks import DataQuality
from syndiff.reduction import ReducedSkycell
from syndiff.sharing import sharing_of
from syndiff.tessellation import Tessellation

MATCHED = CombineConfig("matched", 4096)
NONE = CombineConfig("none", 4096)
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


def combined(tessellation, reduced, config=MATCHED, holes=None):
    skycell = tessellation[reduced.name]
    sharing = sharing_of(tessellation, skycell)
    return combine(reduced, skycell=skycell, sharing=sharing, holes=holes or {}, config=config)


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
    assert (both.flags == DataQuality.FAILED_SKYCELL).mean() > 0.97


def test_a_missing_band_is_stood_in_for_by_the_others_and_flagged():
    """By the colours of a typical star: the others' share of its light."""
    tessellation, (skycell,) = sky(ALONE)
    found = combined(tessellation, reduce_by_hand(skycell, BANDS[1:]))
    weights, colours = np.array(BAND_WEIGHTS), np.array([1.0, 1.32, 1.51, 1.63])
    others = np.dot(weights[1:], [2, 3, 4])
    r = colours[0] * (2 + 3 + 4) / colours[1:].sum()
    wanted = others + weights[0] * r
    np.testing.assert_allclose(inside(found.light), wanted, rtol=0.02)
    assert (inside(found.flags) == DataQuality.MISSING_BAND).all()
    missing = inside(coarse(found, "missing"))
    np.testing.assert_allclose(missing, BAND_WEIGHTS[0] * 1024, rtol=1e-5)
    np.testing.assert_allclose(inside(coarse(found, "count")), 1024 - missing, rtol=1e-5)
    # Standing in multiplies the others' noise as it does their light, by half more for what the
    # matched filter cuts off around it; codes step by 1 %.
    noise = 1.5 * (1.5 * weights[1:] * wanted / others) ** 2 * 2.0 * 1024
    np.testing.assert_allclose(inside(coarse(found, "variance")), noise.sum(), rtol=0.02)


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
