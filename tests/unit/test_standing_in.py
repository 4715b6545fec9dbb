"""Weights on the bands that are there, for those that are not."""

import numpy as np
import pytest

from syndiff.config import BAND_WEIGHTS
from syndiff.scenes.standing_in import ALL_BANDS, own_colour, stand_in_weights
from syndiff.simulation.sky import Cap, SkyConfig, TestStar, make_sources


@pytest.fixture(scope="module")
def stars():
    """Fluxes (n, 4) of stars of r - i from 0 to 1, composite flux 1, the simulator's locus."""
    given = tuple(TestStar(0.0, 0.0, 25.0, r_minus_i=c) for c in np.linspace(0, 1, 11))
    return make_sources(SkyConfig(0.0, 0.0, stars=given), Cap((0.0, 0.0, 1.0), 0.1)).flux


def missing_bands(number):
    return [band for band in range(4) if number >> band & 1]


@pytest.mark.parametrize("missing", range(ALL_BANDS))
def test_missing_bands_have_no_weight(missing):
    assert (stand_in_weights()[missing, missing_bands(missing)] == 0).all()


def test_where_all_or_nothing_is_missing_weights_are_the_usual_ones():
    for missing in (0, ALL_BANDS):
        assert tuple(stand_in_weights()[missing]) == BAND_WEIGHTS


# The largest errors over the locus: what a straight line can do, and what the noise of y and of
# differences between bands makes it give up.
@pytest.mark.parametrize(
    ("missing", "limit"),
    [
        (1, 0.025),
        (2, 0.018),
        (4, 0.018),
        (8, 0.018),
        (12, 0.055),
        (5, 0.025),
        (10, 0.015),
        (3, 0.15),
    ],
)
def test_stars_of_any_colour_keep_their_composite_flux(stars, missing, limit):
    made = stars @ stand_in_weights()[missing]
    assert np.abs(made - 1).max() < limit


@pytest.mark.parametrize("missing", range(1, ALL_BANDS))
def test_noise_does_not_explode(missing):
    """Sky noise of r, i, z, y per PS1 pixel; 3.5 times is what y alone gives at the least."""
    noise = np.array([0.125, 0.14, 0.29, 0.8])
    usual, made = (np.hypot.reduce(stand_in_weights()[m] * noise) for m in (0, missing))
    assert made < 3.5 * usual


def test_own_colour_makes_a_skycells_light_right(stars):
    reddened = 50.0 * stars[3] * [0.8, 0.9, 1.0, 1.05]
    factor = own_colour(reddened)
    made = factor * (stand_in_weights() @ reddened)
    np.testing.assert_allclose(made, reddened @ np.array(BAND_WEIGHTS), rtol=1e-12)
    assert factor[0] == 1


@pytest.mark.parametrize("totals", [[0, 0, 0, 0], [1, 2, 0, 3], [5, 1, -1, 2]])
def test_unknown_colour_changes_nothing(totals):
    assert (own_colour(np.array(totals, float)) == 1).all()
