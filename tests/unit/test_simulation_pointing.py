"""FFIs that point elsewhere: where pixels look, against rotations and aberration by formula."""

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord

from syndiff.layout import Detector
from syndiff.simulation.ffi import FfiConfig, example_cards, wcs_of
from syndiff.simulation.pointing import repointed

CONFIG = FfiConfig(Detector(20, 3, 3), example_cards(), noise=False)


def looks(config, x, y):
    return SkyCoord(*wcs_of(config.wcs_cards).all_pix2world(x, y, 0), unit="deg")


@pytest.fixture
def pixels():
    return [v.ravel() for v in np.meshgrid(np.linspace(44, 2091, 7), np.linspace(0, 2047, 7))]


def test_without_a_change_nothing_moves(pixels):
    apart = looks(CONFIG, *pixels).separation(looks(repointed(CONFIG), *pixels))
    assert apart.max() < 1e-6 * 21 * u.arcsec


def test_pointing_is_the_offset_on_the_sky(pixels):
    later = repointed(CONFIG, shift_arcsec=(12.0, -9.0))
    middle = wcs_of(CONFIG.wcs_cards).wcs.crpix - 1
    east, north = looks(CONFIG, *middle).spherical_offsets_to(looks(later, *middle))
    assert (east.arcsec, north.arcsec) == pytest.approx((12, -9), abs=1e-4)
    apart = looks(CONFIG, *pixels).separation(looks(later, *pixels)).arcsec
    assert np.abs(apart - 15).max() < 0.2  # the camera turns as a whole: 15" cos(6 deg) at least


def test_roll_turns_about_the_reference_pixel(pixels):
    later = repointed(CONFIG, roll_arcsec=60.0)
    centre = looks(CONFIG, *(wcs_of(CONFIG.wcs_cards).wcs.crpix - 1))
    before, after = looks(CONFIG, *pixels), looks(later, *pixels)
    turned = centre.position_angle(after) - centre.position_angle(before)
    assert np.abs(turned.wrap_at(180 * u.deg).arcsec) == pytest.approx(60, abs=0.01)
    np.testing.assert_allclose(
        centre.separation(after).arcsec, centre.separation(before).arcsec, rtol=0, atol=1e-4
    )


def test_scale_is_the_angle_that_a_pixel_sees(pixels):
    later = repointed(CONFIG, scale=1 + 1e-4)
    centre = looks(CONFIG, *(wcs_of(CONFIG.wcs_cards).wcs.crpix - 1))
    ratio = np.tan(centre.separation(looks(later, *pixels)).rad) / np.tan(
        centre.separation(looks(CONFIG, *pixels)).rad
    )
    np.testing.assert_allclose(ratio, 1 + 1e-4, rtol=0, atol=1e-8)


def test_aberration_moves_stars_towards_the_velocity(pixels):
    """What a pixel sees lies farther from the velocity than what it saw, by v/c sin(angle)."""
    velocity = np.array([20.0, -15.0, 10.0])
    later = repointed(CONFIG, velocity_km_s=tuple(velocity))
    towards = SkyCoord(*velocity, representation_type="cartesian")
    towards = SkyCoord(towards.spherical.lon, towards.spherical.lat)
    before, after = looks(CONFIG, *pixels), looks(later, *pixels)
    angle = before.separation(towards)
    wanted = np.linalg.norm(velocity) / 299792.458 * np.sin(angle.rad)
    grown = after.separation(towards).rad - angle.rad
    # first order in v/c; 1e-8 rad are 1e-4 px
    np.testing.assert_allclose(grown, wanted, rtol=0, atol=1e-8)


def test_later_ffis_have_their_own_time():
    later = repointed(CONFIG, cadences=3)
    assert (later.start_time - CONFIG.start_time).total_seconds() == 3 * 1800
