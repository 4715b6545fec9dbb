"""Light profiles: mixtures that hold all the light, quadratures that keep the moments."""

import numpy as np
import pytest

from syndiff.errors import ConfigError
from syndiff.simulation.profiles import (
    GALAXY_KINDS,
    PsfConfig,
    galaxy_mixture,
    gauss_nodes,
    sky_covariance,
)


def half_width(weights, variances):
    """Return the full width at half maximum of a sum of round Gaussians."""
    r = np.linspace(0, 3, 30001)
    profile = (weights / variances * np.exp(-(r[:, None] ** 2) / (2 * variances))).sum(1)
    return 2 * r[np.argmax(profile < profile[0] / 2)]


@pytest.mark.parametrize("shape", ["moffat", "gaussian"])
@pytest.mark.parametrize("band", range(4))
def test_seeing_holds_all_light_and_has_its_width(shape, band):
    psf = PsfConfig((1.3, 1.2, 1.1, 0.8), shape)
    weights, variances = psf.mixture(band)
    assert weights.sum() == pytest.approx(1, abs=1e-12)
    # Four Gaussians have the Moffat profile's width to 0.3 %.
    assert half_width(weights, variances) == pytest.approx(psf.fwhm_arcsec[band], rel=3e-3)


def test_moffat_mixture_follows_the_profile():
    weights, variances = PsfConfig((1.0,) * 4).mixture(0)
    r = np.linspace(0, 3, 50)
    mixture = (
        weights / (2 * np.pi * variances) * np.exp(-(r[:, None] ** 2) / (2 * variances))
    ).sum(1)
    alpha2 = 0.25 / (2 ** (1 / 3) - 1)
    moffat = 2 / (np.pi * alpha2) * (1 + r**2 / alpha2) ** -3
    # The fit's own residuals, as its docstring states them.
    np.testing.assert_allclose(mixture, moffat, rtol=0.05)
    assert np.abs(mixture - moffat).max() < 2.5e-3 * moffat[0]


@pytest.mark.parametrize("kind", GALAXY_KINDS)
def test_galaxies_hold_half_their_light_inside_the_half_light_radius(kind):
    weights, variances = galaxy_mixture(kind)
    assert weights.sum() == pytest.approx(1, abs=1e-12)
    inside = (weights * (1 - np.exp(-0.5 / variances))).sum()
    # The profiles are cut off at several radii: a little more lies inside.
    assert inside == pytest.approx(0.5, abs=0.03)


def test_covariance_of_an_ellipse_lies_along_its_position_angle():
    one = sky_covariance(np.array([2.0]), np.array([0.5]), np.array([90.0]))
    # Position angle 90: the major axis runs east.
    np.testing.assert_allclose(one[0], [[4, 0], [0, 1]], atol=1e-12)


def test_quadrature_keeps_the_moments():
    rng = np.random.default_rng(1)
    weights, positions = rng.uniform(0, 5, (20, 16)), rng.uniform(0.1, 3, 16)
    w, x = gauss_nodes(weights, positions, 4)
    for power in range(8):
        expected = (weights * positions**power).sum(1)
        np.testing.assert_allclose((w * x**power).sum(1), expected, rtol=1e-9)


@pytest.mark.parametrize("distinct", [1, 2, 3])
def test_quadrature_of_few_positions_is_exact(distinct):
    positions = np.repeat(np.arange(distinct) + 0.5, 3)
    w, x = gauss_nodes(np.ones((1, positions.size)), positions, 4)
    assert w.sum() == pytest.approx(3 * distinct)
    assert (w * np.exp(-x)).sum() == pytest.approx(np.exp(-positions).sum(), rel=1e-12)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"fwhm_arcsec": (1.0, 1.0)}, r"fwhm_arcsec \(1.0, 1.0\) is not four widths"),
        ({"fwhm_arcsec": (1.0, 1.0, 1.0, 0.3)}, r"from 0.6 to 5 arcsec"),
        ({"shape": "airy"}, r"shape 'airy' is unknown: give 'moffat' or 'gaussian'"),
    ],
)
def test_bad_seeing_is_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        PsfConfig(**arguments)
