"""Templates made by the command from PS1 pixels that GalSim drew, against what GalSim sees.

The only code of ours beside the pipeline is the writer of PS1's file format: WCS, profiles,
seeing, response and integration over pixels are GalSim's.
"""

import numpy as np
import pytest

from benchmarks.galsim_sky import FLUX, GalsimSky, Seeing, expected, mixture, plan_at
from benchmarks.independent import SEEINGS, SIGMAS, sky_at
from benchmarks.skies import OFFSETS, Run, run_command
from syndiff.simulation import PsfConfig
from syndiff.simulation.ffi import wcs_of
from syndiff.simulation.run import PS1_EPOCH_YEAR
from syndiff.simulation.sources import Sources
from syndiff.simulation.truth import blobs_of, integrate

RMS = 3e-5
"""Of the brightest star's peak, over the field; the pipeline leaves 1e-5, mostly the splat."""

LARGEST = 3e-4
"""Of the brightest star's peak, any pixel: the splat's grid at sigma 40 in the corner."""

TOTAL = 5e-5
"""Of all light: the 16-bit codes of archive and atlas; GalSim's own stamps lose 1e-5."""


def check(products, sky, psf_sigma):
    for offset in OFFSETS:
        product = products[offset]
        truth = expected(sky, product.window, psf_sigma=psf_sigma, offset=offset)
        residual = (product.flux - truth) / truth.max()
        label = f"sigma {psf_sigma:g}, offset {offset}"
        assert np.isfinite(residual).all(), label
        assert np.sqrt((residual**2).mean()) < RMS, label
        assert abs(residual).max() < LARGEST, label
        assert abs(product.flux.sum() / truth.sum() - 1) < TOTAL, label


def render(sky, folder, psf_sigma):
    simulation = sky.make(folder / "sky")
    run = Run(psf_sigma=psf_sigma, roi=sky.plan.field)
    return run_command(simulation, folder / "data", run)


def test_stars_and_galaxies_of_galsim(tmp_path):
    sky = sky_at("centre", Seeing("moffat"))
    check(render(sky, tmp_path, 40.0), sky, 40.0)


@pytest.mark.full
@pytest.mark.parametrize("psf_sigma", SIGMAS)
@pytest.mark.parametrize("seeing", SEEINGS, ids=lambda seeing: seeing.shape)
@pytest.mark.parametrize("place", ["centre", "corner"])
def test_every_place_and_seeing(place, seeing, psf_sigma, tmp_path):
    sky = sky_at(place, seeing)
    check(render(sky, tmp_path, psf_sigma), sky, psf_sigma)


@pytest.mark.parametrize(("place", "offset"), [("centre", OFFSETS[0]), ("corner", OFFSETS[1])])
def test_the_simulations_truth_is_that_of_galsim(place, offset):
    plan = plan_at(place, 16)
    fwhm = (1.3, 1.2, 1.1, 1.0)
    sky = GalsimSky(plan, mixture(plan.field)[:1], Seeing("gaussian", fwhm))
    n, flux = np.zeros(1), np.array([FLUX])
    ra, dec = (np.array([angle.deg]) for angle in (sky.places[0].ra, sky.places[0].dec))
    star = Sources(ra, dec, n, n, flux, n.astype(int), n, n + 1, n)
    seeing = PsfConfig(fwhm, "gaussian")
    blobs = blobs_of(star, psf_sigma_px=40.0, seeing=seeing, year=PS1_EPOCH_YEAR)
    ours = integrate(blobs, wcs_of(plan.ffi.wcs_cards), plan.field, offset=offset)
    galsims = expected(sky, plan.field, psf_sigma=40.0, offset=offset, parts=2)
    # GalSim takes the WCS as straight within each half pixel: 2.5e-6 of it is that, in the corner
    assert abs(ours - galsims).max() < 4e-6 * galsims.max()


def test_a_wrong_response_is_noticed():
    plan = plan_at("centre", 16)
    sky = GalsimSky(plan, mixture(plan.field)[:1], Seeing())
    one, other = (sky.truth(0, sigma, (0.0, 0.0)) for sigma in (40.0, 40.1))
    assert abs(one - other).max() > LARGEST * one.max()
