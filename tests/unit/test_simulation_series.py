"""A simulated series of frames: its light against the exact renderers, its files, its dirt."""

from dataclasses import replace

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

from syndiff.layout import Detector
from syndiff.simulation import FfiConfig, PrfConfig, SkyConfig, TestGalaxy, TestStar
from syndiff.simulation.ffi import E_PER_S_PER_FLUX, example_cards, wcs_of
from syndiff.simulation.prf import draw_sources
from syndiff.simulation.series import SeriesConfig, write_series
from syndiff.simulation.series.fine_sky import draw_fine_sky
from syndiff.simulation.series.motion import moved_cards, positions
from syndiff.simulation.sky import Cap, make_sources
from syndiff.simulation.truth import blobs_of, integrate
from syndiff.window import Window

FIELD = Window(1500, 700, 1520, 716)
CARDS = example_cards()
FFI = FfiConfig(Detector(20, 3, 3), CARDS)
PRF = replace(FFI, prf=PrfConfig())
SHIFT, MATRIX = np.array([0.31, -0.22]), np.array([[9e-6, -4e-6], [5e-6, -8e-6]])
STILL, STEADY = np.zeros(2), np.zeros(3)


def sky_at(x, y):
    return tuple(float(value) for value in wcs_of(CARDS).all_pix2world(x, y, 0))


def sources():
    stars = tuple(
        TestStar(*sky_at(x, y), mag)
        for x, y, mag in ((1508.3, 706.6, 10.0), (1511.1, 709.8, 12.5), (1498.6, 715.2, 11.0))
    )
    galaxy = TestGalaxy(*sky_at(1516.2, 703.1), 13.5, sersic=4, radius_arcsec=8.0)
    config = SkyConfig(0.0, 0.0, stars=stars, galaxies=(galaxy,))
    return make_sources(config, Cap((0.0, 0.0, 1.0), 1.0))


def fine(ffi):
    return draw_fine_sky(sources(), ffi, FIELD, scale=E_PER_S_PER_FLUX, moves_px=2.0, blur_px=0.5)


def places():
    return np.stack(wcs_of(CARDS).all_world2pix(*sources().at(FFI.year), 0), -1)


def moved():
    return positions(places(), SHIFT, MATRIX, np.array(wcs_of(CARDS).wcs.crpix) - 1)


def test_frame_with_measured_response_is_as_drawn_exactly():
    frame = fine(PRF).frame(SHIFT, MATRIX, STILL, STEADY)
    exact = E_PER_S_PER_FLUX * draw_sources(
        *(sources(), PRF.prf, wcs_of(CARDS), FIELD), year=FFI.year, offset=moved() - places()
    )
    assert np.abs(frame - exact).max() < 1e-5 * exact.max()


def test_frame_with_gaussian_response_is_as_its_header_says():
    frame = fine(FFI).frame(SHIFT, MATRIX, STILL, STEADY)
    header = moved_cards(fits.Header.fromstring(CARDS, sep="\n"), SHIFT, MATRIX)
    blobs = blobs_of(sources(), psf_sigma_px=40.0, seeing=None, year=FFI.year)
    exact = E_PER_S_PER_FLUX * integrate(blobs, WCS(header), FIELD)
    assert np.abs(frame - exact).max() < 1e-5 * exact.max()


def test_header_puts_stars_where_they_stand():
    header = moved_cards(fits.Header.fromstring(CARDS, sep="\n"), SHIFT, MATRIX)
    there = WCS(header).all_world2pix(*sources().at(FFI.year), 0)
    assert np.abs(np.stack(there, -1) - moved()).max() < 1e-6


def made(folder, config, **options):
    return write_series(sources(), PRF, FIELD, config, folder, **options)


def test_cube_and_ffis_hold_the_same_pixels(tmp_path):
    series = made(tmp_path, SeriesConfig(3), form="both")
    flux = fits.getdata(series.cube, 1)["FLUX"]
    for path, frame in zip(series.ffis, flux, strict=True):
        assert np.array_equal(fits.getdata(path, 1)[FIELD.slices], frame)
