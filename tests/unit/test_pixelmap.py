"""Positions of skycells' pixels on a CCD."""

import numpy as np
import pytest
from astropy.wcs import WCS
from smallsky import ccd_frame

from syndiff.errors import GeometryError
from syndiff.layout import Detector
from syndiff.sky.pixelmap import PixelMap, sky_to_pixel
from syndiff.sky.tessellation import Skycell

# all over the sky: dec +76, across RA 0, the pole, the equator, south of PS1's
CCDS = [(20, 3, 3), (17, 2, 1), (14, 4, 2), (42, 1, 1), (2, 1, 2), (20, 4, 3)]


def skycell_at(ra, dec, pc=(-1.0, 0.0, 0.0, 1.0)):
    """A skycell far from its tangent point."""
    crpix, cdelt = (-2000.25, 9001.5), (6.94444461259988e-05, 6.94444461259988e-05)
    return Skycell("skycell.0001.001", 6243, 6274, (float(ra), float(dec)), crpix, cdelt, pc)


def random_pixels(frame, n=400, margin_px=0):
    window = frame.science.grown(margin_px)
    rng = np.random.default_rng(7)
    return rng.uniform(window.x0, window.x1, n), rng.uniform(window.y0, window.y1, n)


@pytest.mark.parametrize("numbers", CCDS)
def test_sky_to_pixel_inverts_the_forward_wcs(numbers):
    frame = ccd_frame(*numbers)
    x, y = random_pixels(frame, margin_px=300)
    ra, dec = frame.wcs.all_pix2world(x, y, 0)
    got = sky_to_pixel(frame, ra, dec)
    np.testing.assert_allclose(got, [x, y], rtol=0, atol=1e-9)  # 1e-13 deg of rounding is 2e-11 px


@pytest.mark.parametrize("numbers", CCDS)
def test_pixel_map_agrees_with_astropy(numbers):
    frame = ccd_frame(*numbers)
    ra, dec = frame.wcs.all_pix2world(700.0, 1500.0, 0)
    turned = (-np.cos(0.3), np.sin(0.3), np.sin(0.3), np.cos(0.3))
    skycell = skycell_at(ra, dec, turned)
    x, y = np.random.default_rng(8).uniform(0, 6243, (2, 200))
    got = PixelMap.between(skycell, frame)(x, y)
    sky = skycell.wcs.all_pix2world(x, y, 0)
    expected = frame.wcs.all_world2pix(*sky, 0, tolerance=1e-11, maxiter=50)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-9)  # as promised


def test_pixel_map_agrees_with_galsim():
    import galsim

    frame = ccd_frame(20, 3, 3)
    wcs = galsim.AstropyWCS(wcs=frame.wcs)
    ra, dec = frame.wcs.all_pix2world(1900.0, 200.0, 0)
    skycell = skycell_at(ra, dec)
    expected = galsim.AstropyWCS(wcs=skycell.wcs).toWorld(galsim.PositionD(31.0, 4001.0))
    there = PixelMap.between(skycell, frame)(30.0, 4000.0)
    got = wcs.toWorld(galsim.PositionD(there[0] + 1.0, there[1] + 1.0))
    assert got.distanceTo(expected) < 1e-8 * galsim.arcsec  # 5e-10 px


def test_skycell_at_the_pole_is_mapped_with_lonpole_180():
    frame = ccd_frame(14, 4, 2)
    skycell = skycell_at(0.0, 90.0)
    got = PixelMap.between(skycell, frame)(100.0, 200.0)
    sky = skycell.wcs.all_pix2world(100.0, 200.0, 0)
    np.testing.assert_allclose(got, sky_to_pixel(frame, *sky), rtol=0, atol=1e-9)  # as promised


def test_inverse_undoes_the_map():
    frame = ccd_frame(20, 3, 3)
    pixel_map = PixelMap.between(skycell_at(*frame.wcs.wcs.crval), frame)
    x, y = np.random.default_rng(9).uniform(-500, 6800, (2, 10, 20))
    back = pixel_map.inverse(*pixel_map(x, y))
    np.testing.assert_allclose(back, [x, y], rtol=0, atol=1e-8)  # 1e-10 px over a scale of 0.012


def test_lattice_is_exact_at_nodes_and_bilinear_between():
    frame = ccd_frame(42, 1, 1)
    ra, dec = frame.wcs.all_pix2world(60.0, 2000.0, 0)
    pixel_map = PixelMap.between(skycell_at(ra, dec), frame)
    lattice = pixel_map.lattice()
    assert lattice.x.shape == lattice.y.shape == (100, 99)
    assert lattice.x.dtype == np.float64
    np.testing.assert_array_equal((lattice.x[3, 5], lattice.y[3, 5]), pixel_map(5 * 64.0, 3 * 64.0))
    x, y = np.random.default_rng(10).uniform(-0.5, 6245, (2, 5000))
    error = np.abs(np.subtract(lattice(x, y), pixel_map(x, y))).max()
    assert error < 1e-5  # 6e-6 over the sky, h^2/8 times the second derivative


@pytest.mark.parametrize("lonpole", [None, 180.0, 30.0])
def test_plain_tan_and_any_lonpole(lonpole):
    class PlainFrame:
        wcs = WCS(naxis=2)
        detector = Detector(1, 1, 1)

    wcs = PlainFrame.wcs
    wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
    wcs.wcs.crval, wcs.wcs.crpix = (0.01, 89.9), (100.0, 200.0)
    wcs.wcs.cd = [[0.005, 0.0001], [-0.0002, 0.0051]]
    if lonpole is not None:
        wcs.wcs.lonpole = lonpole
    wcs.wcs.set()
    x, y = np.random.default_rng(11).uniform(-50, 400, (2, 100))
    got = sky_to_pixel(PlainFrame(), *wcs.all_pix2world(x, y, 0))
    np.testing.assert_allclose(got, [x, y], rtol=0, atol=1e-9)  # rounding of 1e-13 deg


def test_finite_positions_of_the_whole_sky_are_true():
    frame = ccd_frame(20, 3, 3)
    rng = np.random.default_rng(12)
    ra, dec = rng.uniform(0, 360, 20000), np.rad2deg(np.arcsin(rng.uniform(-1, 1, 20000)))
    x, y = sky_to_pixel(frame, ra, dec)
    found = np.isfinite(x)
    assert 0 < found.sum() < 10000  # behind the tangent plane: NaN
    np.testing.assert_array_equal(found, np.isfinite(y))
    back = frame.wcs.all_pix2world(x[found], y[found], 0)
    np.testing.assert_allclose(back[1], dec[found], rtol=0, atol=1e-9)  # rounding at 5e4 px


def test_coordinates_broadcast():
    frame = ccd_frame(20, 3, 3)
    x, y = sky_to_pixel(frame, 217.0, [[76.0, 76.5]])
    assert x.shape == y.shape == (1, 2)


def test_another_projection_is_refused():
    class OtherFrame:
        wcs = WCS(naxis=2)
        detector = Detector(20, 3, 3)

    OtherFrame.wcs.wcs.ctype = "RA---SIN", "DEC--SIN"
    with pytest.raises(GeometryError, match=r"sector 20 camera 3 ccd 3 has CTYPE RA---SIN"):
        sky_to_pixel(OtherFrame(), 0.0, 0.0)
