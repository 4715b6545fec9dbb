"""Displacement fields between FFIs of one CCD."""

import numpy as np
import pytest
from astropy.io import fits
from smallsky import ccd_frame, turned

from syndiff.errors import GeometryError
from syndiff.ffi.frame import Frame
from syndiff.layout import Detector
from syndiff.sky.displacement import Displacement, displacement_between
from syndiff.window import Window

DETECTORS = [(20, 3, 3), (1, 1, 1), (30, 2, 4)]
SCIENCE = Window(44, 0, 2092, 2048)


@pytest.mark.parametrize("detector", DETECTORS)
def test_the_field_leads_to_the_same_sky(detector):
    """The reference's own forward WCS, at x - d(x), is where the followed FFI looks."""
    reference = ccd_frame(*detector)
    frame = turned(reference, roll_arcsec=12, scale=1 + 3e-5, crval=(20, -25))
    field = displacement_between(reference, frame)
    rng = np.random.default_rng(1)
    x, y = rng.uniform(44, 2091, 5000), rng.uniform(0, 2047, 5000)
    dx, dy = field(x, y)
    assert np.abs(dx).max() + np.abs(dy).max() > 1
    here, there = frame.pixel_to_sky(x, y), reference.pixel_to_sky(x - dx, y - dy)
    apart = np.hypot((here[0] - there[0]) * np.cos(np.deg2rad(here[1])), here[1] - there[1])
    # 2e-6 px leave 2e-6 of a star's peak, a fifth of what the kernel may err by; float64
    # degrees hold 1e-9 px
    assert apart.max() * 3600 / 21 < 2e-6


def test_another_reference_pixel_is_a_constant_field():
    reference = ccd_frame(20, 3, 3)
    field = displacement_between(reference, turned(reference, crpix=(0.37, -0.21)))
    # Newton stops at 1e-10 px
    np.testing.assert_allclose(field.dx, 0.37, rtol=0, atol=1e-9)
    np.testing.assert_allclose(field.dy, -0.21, rtol=0, atol=1e-9)
    shift = field.shift(SCIENCE)
    assert (shift.dx, shift.dy) == pytest.approx((0.37, -0.21), abs=1e-9)
    assert (shift.roll_arcsec, shift.scale_ppm) == pytest.approx((0, 0), abs=1e-6)
    np.testing.assert_allclose(field.area(Window(100, 100, 104, 103)), 1, atol=1e-7)


def test_nodes_cover_the_array():
    field = displacement_between(ccd_frame(20, 3, 3), ccd_frame(20, 3, 3))
    x, y = field.nodes()
    assert (x[0, 0], y[0, 0]) == (0, 0)
    assert x[-1, -1] >= 2135
    assert y[-1, -1] >= 2077


def linear(a, b, c, d):
    """The field (a x + b y, c x + d y) over 200 x 120 pixels."""
    field = Displacement.constant((0, 0), (120, 200))
    x, y = field.nodes()
    return field.moved(a * x + b * y, c * x + d * y)


def test_shift_tells_turn_and_scale():
    window = Window(10, 20, 150, 100)
    # a source at (1, 0) from the middle goes up for a positive turn
    shift = linear(2e-5, -1e-4, 1e-4, 2e-5).shift(window)
    assert shift.roll_arcsec == pytest.approx(np.rad2deg(1e-4) * 3600)
    assert shift.scale_ppm == pytest.approx(20)
    assert shift.dx == pytest.approx(2e-5 * 79.5 - 1e-4 * 59.5)
    assert shift.dy == pytest.approx(1e-4 * 79.5 + 2e-5 * 59.5)
    assert shift.largest_px == pytest.approx(1e-4 * 149 + 2e-5 * 99)


def test_one_pixel_has_a_shift_too():
    shift = linear(0, 1e-3, 0, 0).shift(Window(10, 20, 11, 21))
    assert (shift.dx, shift.dy) == pytest.approx((0.02, 0))


def test_area_is_the_determinant():
    area = linear(1e-3, 2e-3, -3e-3, 4e-3).area(Window(3, 5, 30, 40))
    assert area.shape == (35, 27)
    np.testing.assert_allclose(area, (1 - 1e-3) * (1 - 4e-3) - 2e-3 * -3e-3, rtol=1e-6)


def test_largest_is_that_of_all_pixels():
    rng = np.random.default_rng(4)
    field = Displacement.constant((0, 0), (60, 60))
    field = field.moved(*rng.normal(size=(2, *field.dx.shape)))
    for window in (Window(3, 5, 4, 6), Window(0, 0, 60, 60), Window(9, 17, 31, 22)):
        y, x = np.mgrid[window.y0 : window.y1, window.x0 : window.x1]
        wanted = max(np.abs(part).max() for part in field(x, y))
        assert field.largest(window) == pytest.approx(wanted)


def test_another_detector_is_refused():
    with pytest.raises(GeometryError, match=r"sector 1 camera 1 ccd 1 can't be followed"):
        displacement_between(ccd_frame(20, 3, 3), ccd_frame(1, 1, 1))


def test_another_sky_is_refused():
    frame = ccd_frame(20, 3, 3)
    header = fits.Header(ccd_frame(1, 1, 1).header())
    other = Frame.from_header(header, Detector(20, 3, 3), frame.shape, frame.science)
    with pytest.raises(GeometryError, match="no position in the reference FFI"):
        displacement_between(frame, other)
