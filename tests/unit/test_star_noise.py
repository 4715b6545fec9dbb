"""The errors of stars' fluxes in the variance of a scene, against the formula of a Gaussian."""

import numpy as np
import pytest
from scipy.special import ndtr

from syndiff.sky.pixelmap import Lattice
from syndiff.stars.noise import add_star_noise, located_errors

SIGMA_PX = 0.5
SIDE_PX = 40


def recorded(distance):
    """What pixels at some distance along an axis record of a star."""
    return ndtr((distance + 0.5) / SIGMA_PX) - ndtr((distance - 0.5) / SIGMA_PX)


def wrapped_response():
    """At 4 samples per pixel, centred on sample (0, 0)."""
    distance = np.fft.fftfreq(4 * SIDE_PX, 1 / (4 * SIDE_PX)) / 4
    return np.outer(recorded(distance), recorded(distance))


@pytest.mark.parametrize("place", [(20.0, 18.5), (20.13, 18.41), (19.61, 17.98)])
def test_a_star_adds_its_error_times_the_response_squared(place):
    plane = np.zeros((2 * SIDE_PX, 2 * SIDE_PX))
    errors = np.array([[place[0] + 7.0, place[1] - 3.0, 50.0]])
    add_star_noise(plane, wrapped_response(), errors, np.array([7.0, -3.0]), 2)
    samples = np.arange(2 * SIDE_PX) / 2
    wanted = 50 * np.outer(recorded(samples - place[1]), recorded(samples - place[0])) ** 2
    # cubic between samples of a quarter of a pixel
    np.testing.assert_allclose(plane, wanted, atol=0.01 * wanted.max())


def test_stars_near_the_border_and_outside_add_what_falls_inside():
    plane = np.zeros((2 * SIDE_PX, 2 * SIDE_PX))
    errors = np.array([[-0.5, 10.0, 1.0], [1000.0, 10.0, 1.0], [10.0, -200.0, 1.0]])
    add_star_noise(plane, wrapped_response(), errors, np.zeros(2), 2)
    assert np.argmax(plane.sum(axis=0)) == 0
    assert plane[:, SIDE_PX:].max() == 0


def test_errors_land_where_the_skycell_does():
    nodes = np.arange(0, 200, 64.0)
    x, y = np.meshgrid(nodes / 80 + 100, nodes / 80 + 50)
    x[-1, -1] = np.nan

    class Given:
        star_errors = np.array([[40.0, 80.0, 2.0], [190.0, 190.0, 3.0]])

    found = located_errors(Lattice(x, y, 64), Given())
    np.testing.assert_allclose(found, [[100.5, 51.0, 2.0]])
    Given.star_errors = None
    assert located_errors(Lattice(x, y, 64), Given()).shape == (0, 3)
