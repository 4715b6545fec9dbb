"""Templates in the corner of the CCD, and at every place, seeing and response: the truth."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.wcs import WCS
from commands import invoke
from rendered import FLUX, LARGEST, POSITION_PX, check_stars, check_templates, render

from benchmarks.accuracy import SIGMAS, SKIES
from benchmarks.measure import measure, position_errors
from benchmarks.skies import Product
from syndiff.simulation.ffi import shifted, wcs_of
from syndiff.simulation.pointing import repointed

MOVES = {
    "aberration": {"velocity_km_s": (12, -9, 6)},
    "roll": {"roll_arcsec": 14.0, "shift_arcsec": (6.0, -11.0)},
    "everything": {
        "roll_arcsec": -9.0,
        "shift_arcsec": (-12.0, 5.0),
        "scale": 1 + 3e-5,
        "velocity_km_s": (-5, 4, 3),
    },
}
"""Up to 1 px away on the CCD, and other by as much from one side of it to the other."""


def seen_by(simulation, ffi):
    """The same sky with another FFI's pixels for the truth."""
    return replace(simulation, config=replace(simulation.config, ffi=ffi))


def follow(rendered, ffi, *more, psf_sigma=40.0):
    """The template of an FFI by the real command; the FFI is written first."""
    path = rendered.simulation.add_ffi(ffi)
    root, roi = rendered.simulation.directory.parent / "data", rendered.sky.plan.field
    where = ("--data-root", root, "--roi", roi)
    done = invoke("downsample", 20, 3, 3, *where, "--follow", path, *more)
    path.unlink()
    return Product.read(Path(done.stdout.splitlines()[-1]))


def test_stars_in_the_corner_of_the_science_pixels(corner):
    assert "science corner" in corner.sky.kinds
    check_templates(corner, 40.0)


@pytest.mark.parametrize("move", MOVES)
def test_stars_where_another_ffi_looks(corner, move):
    later = repointed(corner.simulation.config.ffi, cadences=3, **MOVES[move])
    product = follow(corner, later)
    seen = seen_by(corner.simulation, later)
    found = measure(product, seen, psf_sigma=40.0, offset=(0.0, 0.0))
    assert len(found.stars.star) >= 4
    check_stars(found.stars, move)
    assert abs(found.total) <= FLUX
    assert position_errors(product, seen).max() <= POSITION_PX
    assert not product.planes["DQ"].any()
    assert product.header["SHIFTMAX"] > 0.2


def test_an_ffi_that_is_a_constant_away_is_an_offset(corner):
    offset = (0.37, -0.21)
    config = corner.simulation.config.ffi
    product = follow(corner, shifted(config, cadences=9, pointing_px=offset))
    wanted = corner.products[40.0][offset]
    # the kernel's own error is 2e-6 to 6e-6 of a peak in both
    peak = wanted.flux.max()
    np.testing.assert_allclose(product.flux, wanted.flux, rtol=0, atol=1e-5 * peak)
    for name in ("COVERAGE", "DQ"):
        np.testing.assert_array_equal(product.planes[name], wanted.planes[name])
    for name in ("COUNT", "MASK"):
        assert np.abs(product.planes[name] - wanted.planes[name]).max() <= 1
    assert (product.header["DX_SHIFT"], product.header["DY_SHIFT"]) == pytest.approx(offset)
    for key in ("CRPIX1", "CRPIX2", "CD1_1", "A_2_0"):
        assert product.header[key] == pytest.approx(wanted.header[key], rel=1e-12)


@pytest.mark.parametrize("samples", [2, 3, 4])
def test_oversampled_templates_keep_flux_and_wcs(corner, samples):
    later = repointed(corner.simulation.config.ffi, cadences=4, **MOVES["everything"])
    product = follow(corner, later, "--oversample", samples)
    seen, window = seen_by(corner.simulation, later), product.window
    assert product.flux.shape == tuple(samples * side for side in window.shape)
    assert product.header["OVERSAMP"] == samples
    x, y = np.meshgrid(np.linspace(44, 2091, 9), np.linspace(0, 2047, 9))
    fine = [samples * (v - low + 0.5) - 0.5 for v, low in ((x, window.x0), (y, window.y0))]
    here = WCS(product.header).all_pix2world(*fine, 0)
    there = wcs_of(later.wcs_cards).all_pix2world(x, y, 0)
    cosine = np.cos(np.deg2rad(there[1]))
    apart = np.hypot((here[0] - there[0]) * cosine, here[1] - there[1]) * 3600 / 21
    assert apart.max() < 1e-6
    for j, i in np.ndindex(samples, samples):
        # A pixel centred there sees what one at the pixel's centre does if the sky moves back.
        aside = [(k + 0.5) / samples - 0.5 for k in (i, j)]
        truth = seen.truth(window, offset=(-aside[0], -aside[1])) / samples**2
        part = product.flux[j::samples, i::samples]
        assert np.abs(part - truth).max() <= LARGEST * truth.max()
        assert part.sum() == pytest.approx(truth.sum(), rel=FLUX)


def test_stars_tell_where_the_wcs_errs(corner):
    config = corner.simulation.config.ffi
    true = repointed(config, cadences=5, shift_arcsec=(2.4, -3.1), roll_arcsec=3.0)
    wrong = replace(repointed(config, cadences=5), light_cards=true.wcs_cards)
    product = follow(corner, wrong, "--refine")
    header = product.header
    seen = seen_by(corner.simulation, true)
    assert header["REFDXERR"] < 0.005
    x, y = np.mean(product.window.slices[1].start + 9), np.mean(product.window.slices[0].start + 9)
    there = wcs_of(true.wcs_cards).all_world2pix(*wcs_of(wrong.wcs_cards).all_pix2world(x, y, 0), 0)
    moved = np.array(there) - (x, y)
    assert abs(header["REFDX"] - moved[0]) < max(4 * header["REFDXERR"], 2e-3)
    assert abs(header["REFDY"] - moved[1]) < max(4 * header["REFDYERR"], 2e-3)
    # what is left of the shift leaves as much of a star's peak
    assert position_errors(product, seen).max() < 5e-3


@pytest.mark.full
@pytest.mark.parametrize("sky", SKIES, ids=str)
def test_every_place_seeing_and_response(sky, tmp_path):
    rendered = render(sky, tmp_path, *SIGMAS)
    for sigma in SIGMAS:
        check_templates(rendered, sigma)
