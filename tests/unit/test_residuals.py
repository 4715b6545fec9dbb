import numpy as np
import pytest
from finestars import draw

from syndiff.differences.residuals import find_stars, measure_residuals
from syndiff.differences.scaled import Difference

SHAPE = (40, 50)
Y, X = np.arange(40.0), np.arange(50.0)
STARS = [(12.2, 14.1, 10000.0), (35.0, 25.0, 4000.0), (38.2, 26.3, 2000.0), (2.0, 20.0, 5000.0)]
NOISE = np.full(SHAPE, 0.5)


def make(part=0.0):
    """A difference that leaves a part of each star."""
    model = draw(STARS, Y, X, lambda *_: [(1, 0, 0, 0.6)])
    return Difference(part * model, model, np.zeros(SHAPE), np.ones(SHAPE, bool), 1.0, 0.1, 1.0)


def measure(difference, flagged=None):
    flagged = np.zeros(SHAPE, bool) if flagged is None else flagged
    return measure_residuals(difference, NOISE, flagged, find_stars(difference, NOISE))


def test_parts_of_stars_are_told():
    found = measure(make(0.02))
    first = found.flux.argmax()
    # All but 1e-3 of the light is in 5 x 5 pixels.
    assert found.flux[first] == pytest.approx(10000, rel=2e-3)
    assert found.mag[first] == pytest.approx(20.44 - 10, abs=3e-3)
    assert found.aperture[first] == pytest.approx(0.02, rel=1e-3)
    assert found.peak[first] == pytest.approx(0.02, rel=1e-3)
    assert found.aperture_error[first] == pytest.approx(0.5 * 5 / 10000, rel=2e-3)


def test_neighbours_and_borders():
    found = measure(make())
    # The one at the border has no surroundings.
    np.testing.assert_allclose(found.x, [12.2, 35.0, 38.2], atol=0.2)
    assert found.isolated.tolist() == [True, False, False]
    assert found.clean(10.0, 11.0).tolist() == [True, False, False]
    assert not found.clean(11.0, 12.0).any()


def test_a_peak_is_one_catalogue_stars():
    x, y = np.array([12.9, 12.3, 12.2]), np.array([14.1, 14.1, 30.0])
    found = measure_residuals(make(), NOISE, np.zeros(SHAPE, bool), (x, y))
    # the first stands in the light of the second, the third has none
    assert found.isolated.tolist() == [False, True, False]


def test_flags_and_unknown_pixels():
    difference = make()
    difference.image[24, 34] = np.nan
    flagged = np.zeros(SHAPE, bool)
    flagged[16, 14] = True
    assert measure(difference, flagged).flagged.tolist() == [True, True, False]


def test_no_stars_at_all():
    nothing = Difference(
        np.zeros(SHAPE), np.zeros(SHAPE), np.zeros(SHAPE), np.ones(SHAPE, bool), 1.0, 0.1, 1.0
    )
    assert len(measure(nothing)) == 0
