"""Light spread thinly around galaxies: found, kept to its end, and told from the sky's ripple."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from syndiff.settings import Settings
from syndiff.stacks.detection import CellSums, detect_light
from syndiff.stacks.extended import find_extended, grow_extended, level_beneath, mean_around

SIGMA = 0.5
SHAPE = (512, 512)
Y, X = np.mgrid[: SHAPE[0], : SHAPE[1]] - 256.0


def noise(seed=1):
    return np.random.default_rng(seed).normal(0, SIGMA, SHAPE)


def exponential(total, radius, axis_ratio=1.0):
    """A disc with half its light within a radius (of 1" cells) along the major axis."""
    scale = radius / 1.678
    light = np.exp(-np.hypot(X, Y / axis_ratio) / scale)
    return total * light / light.sum()


def reduced(flux, *, method="matched", gap=None, saturated=None):
    count = np.full(SHAPE, 16, np.uint8)
    if gap is not None:
        count[gap] = 0
    flux = np.where(count > 0, flux, 0).astype(np.float32)
    variance = np.where(count > 0, SIGMA**2, 0).astype(np.float32)
    cells = CellSums(flux, variance, count)
    return detect_light({"r": cells}, settings=Settings(background=method), saturated=saturated)


def kept(flux, found):
    """What of a sky is kept as light, cell by cell."""
    level, pedestal = (
        16 * np.repeat(np.repeat(mesh[0], 64, 0), 64, 1) for mesh in (found.levels, found.pedestals)
    )
    return np.where(found.detected > 0, flux - level - pedestal * (found.detected == 2), 0)


@pytest.mark.parametrize("method", ["matched", "sep"])
@pytest.mark.parametrize(("radius", "axis_ratio"), [(6, 1.0), (14, 0.4), (30, 1.0)])
def test_a_galaxy_keeps_its_wings(method, radius, axis_ratio):
    """99 % of an AB 15.6 galaxy; the filter of 1" cells alone keeps 0.90 to 0.98 of it."""
    galaxy = exponential(5750.0, radius, axis_ratio)
    ratios = []
    for seed in range(3):
        flux = 2.0 + galaxy + noise(seed)
        found = reduced(flux, method=method)
        near = np.hypot(X, Y) < 100
        ratios.append(kept(flux, found)[near].sum() / galaxy[near].sum())
    # noise in 31,000 cells, 90, and of their level, as much: 0.013 of it for the mean of three
    assert np.mean(ratios) == pytest.approx(1, abs=0.03)
    assert (galaxy * (found.detected > 0)).sum() > 0.99 * galaxy.sum()


def test_the_level_beneath_a_galaxy_is_that_around_it():
    galaxy = exponential(5e4, 40.0)
    found = reduced(16 * 0.25 + galaxy + noise())
    # a median of the sky alone errs by 0.001
    assert found.levels[0] == pytest.approx(0.25, abs=0.004)


def test_the_sky_beside_undetected_sources_is_level_beneath_a_galaxy():
    """A galaxy's light stands on the same mean as the sky around, whose sources are left out."""
    rng = np.random.default_rng(3)
    specks = np.zeros(SHAPE)
    np.add.at(specks, tuple(rng.integers(0, 512, (2, 20_000))), 1.0)
    flux = exponential(5750.0, 14.0) + gaussian_filter(specks, 0.8) + noise()
    found = reduced(flux)
    assert (found.detected == 2).any()
    far = np.hypot(X, Y) > 180
    left_out = (flux - kept(flux, found))[far].mean()
    # of 20,000 specks in 262,144 cells, the brightest of which are detected; known to 0.002
    assert 16 * (found.levels[0] + found.pedestals[0])[3:5, 3:5].mean() == pytest.approx(
        left_out, abs=0.012
    )


def test_neither_stars_nor_empty_sky_are_extended():
    rng = np.random.default_rng(4)
    stars = np.zeros(SHAPE)
    np.add.at(stars, tuple(rng.integers(0, 512, (2, 300))), 10 ** rng.uniform(1, 4, 300))
    # one block in 30,000 stands out of noise by 4 sigma, and grows
    assert (reduced(gaussian_filter(stars, 0.6) + noise()).detected == 2).mean() < 0.006
    assert (reduced(noise(2)).detected == 2).mean() < 0.002


def test_a_ripple_of_the_sky_is_no_light():
    """Waves of 1.5 arcmin at 27.5 mag per square arcsec, half the noise of a TESS pixel each."""
    ripple = 0.1 * (np.cos(X / 15) + np.cos(Y / 13))
    assert not (reduced(ripple + noise()).detected == 2).any()


def test_a_crowded_sky_has_no_extended_light():
    """No sky is there to take it from."""
    compact = np.ones(SHAPE, np.uint8)
    variance = np.full(SHAPE, SIGMA**2, np.float32)
    residual = (exponential(1e5, 30.0) + noise()).astype(np.float32)
    assert not find_extended(residual, variance, compact, compact).any()
    compact[:] = 0
    assert find_extended(residual, variance, compact, compact).any()


def test_cells_without_data_hold_no_extended_light():
    gap = np.s_[250:262, 100:400]
    found = reduced(exponential(5750.0, 14.0) + noise(), gap=gap)
    assert (found.detected == 2).any()
    assert not found.detected[gap].any()


def test_a_saturated_stars_halo_is_left_as_it_was():
    halo = 1e4 * np.maximum(np.hypot(X, Y), 2) ** -2.5
    saturated = np.zeros((64, 64), bool)
    assert (reduced(halo + noise(), saturated=saturated).detected == 2).any()
    saturated[32, 32] = True
    assert not (reduced(halo + noise(), saturated=saturated).detected == 2).any()


def test_growth_follows_the_size_and_fills_holes():
    seen = np.zeros((60, 60), bool)
    y, x = np.mgrid[:60, :60]
    ring = np.hypot(y - 30, x - 30)
    seen[(ring < 8) & (ring > 4)] = True
    seen[3, 3] = True
    grown = grow_extended(seen, ~seen & False)
    assert grown[30, 30]
    along = np.flatnonzero(grown[30])
    # 1.5 times a radius of 7.9 beyond 7 whole cells on either side
    assert along.min() == 30 - 7 - 11
    assert along.max() == 30 + 7 + 11
    assert grown[:8, :8].sum() == 1
    assert not grow_extended(*np.zeros((2, 5, 5), bool)).any()


def test_what_a_saturated_star_scatters_is_no_extended_light():
    y, x = np.mgrid[:60, :60]
    seen = np.hypot(y - 30, x - 30) < 8
    saturated = ~seen & False
    saturated[30, 31] = True
    assert not grow_extended(seen, saturated).any()
    # but a galaxy with a star beside its middle, or far from it, is a galaxy
    for column in (35, 50):
        saturated[:] = False
        saturated[30, column] = True
        assert grow_extended(seen, saturated)[30, 30]


def test_a_level_goes_on_beneath_extended_light():
    level = np.full((6, 6), 2.0, np.float32)
    level[2:4, 2:4] = 9.0
    medians = level.copy()
    medians[3, 3] = np.nan
    samples = np.full((6, 6), 1000, np.int32)
    samples[2:4, 2:4] = 0
    wide = np.zeros((48, 48), bool)
    wide[16:32, 16:32] = True
    np.testing.assert_allclose(level_beneath(level, medians, samples, wide), 2.0)
    wide[:] = False
    np.testing.assert_array_equal(level_beneath(level, medians, samples, wide), level)


def test_means_reach_as_far_as_they_have_to():
    sums, counts = np.zeros((20, 20)), np.zeros((20, 20))
    counts[0, 0], sums[0, 0] = 4000.0, 100.0
    np.testing.assert_allclose(mean_around(sums, counts), 100 / 4000, rtol=1e-5)
    assert not mean_around(sums, 0 * counts).any()
