"""Templates made by the command from PS1 pixels that GalSim drew, against what GalSim sees.

The only code of ours beside the pipeline is the writer of PS1's file format: WCS, profiles,
seeing, response and integration over pixels are GalSim's.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from commands import invoke

from benchmarks.galsim_prf import MEAN_SEEING, response_stamp
from benchmarks.galsim_sky import FLUX, GalsimSky, Seeing, Thing, expected, mixture, plan_at
from benchmarks.independent import SEEINGS, SIGMAS, sky_at
from benchmarks.skies import OFFSETS, Product, Run, run_command
from syndiff.layout import Detector, Layout
from syndiff.simulation import PsfConfig, plan_simulation
from syndiff.simulation.ffi import wcs_of
from syndiff.simulation.pointing import repointed
from syndiff.simulation.prf import PrfConfig, write_prf_files
from syndiff.simulation.run import PS1_EPOCH_YEAR
from syndiff.simulation.sources import Sources
from syndiff.simulation.truth import blobs_of, integrate
from syndiff.sky.tessellation import Tessellation

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


POLE = (0.1, 89.99999)
POLE_SKYCELLS = tuple(f"skycell.2643.{number:03d}" for number in (44, 45, 54, 55))


def plan_at_the_pole(detector, size_px):
    """A field around the celestial pole, with the skycells of RINGS.V3 that meet there."""
    cells = [Tessellation.rings_v3()[name] for name in POLE_SKYCELLS]
    return plan_simulation(
        noise=False, detector=detector, target=POLE, size_px=size_px, skycells=cells
    )


def things_at_the_pole(plan):
    """A star at the pole, others around it, a galaxy: any longitude."""
    x, y = (float(v) for v in wcs_of(plan.ffi.wcs_cards).all_world2pix(*POLE, 0))
    at = [(0.0, 0.0), (-6.3, -6.1), (6.2, -5.8), (-5.7, 6.4)]
    stars = [Thing(x + dx, y + dy, FLUX) for dx, dy in at]
    return (*stars, Thing(x + 5.3, y + 5.1, FLUX, 1.0, 1.6, 0.5, 30.0))


def test_the_simulations_truth_is_that_of_galsim_at_the_pole():
    plan = plan_at_the_pole(Detector(79, 4, 1), 16)
    fwhm = (1.3, 1.2, 1.1, 1.0)
    sky = GalsimSky(plan, things_at_the_pole(plan)[:2], Seeing("gaussian", fwhm))
    n, flux = np.zeros(2), np.array([FLUX, FLUX])
    ra, dec = (np.array([getattr(p, a).deg for p in sky.places]) for a in ("ra", "dec"))
    stars = Sources(ra, dec, n, n, flux, n.astype(int), n, n + 1, n)
    seeing = PsfConfig(fwhm, "gaussian")
    blobs = blobs_of(stars, psf_sigma_px=40.0, seeing=seeing, year=PS1_EPOCH_YEAR)
    ours = integrate(blobs, wcs_of(plan.ffi.wcs_cards), plan.field)
    galsims = expected(sky, plan.field, psf_sigma=40.0, offset=(0.0, 0.0))
    # the WCS taken as straight within a pixel: 1e-5 at most
    assert abs(ours - galsims).max() < 2e-5 * galsims.max()


@pytest.mark.full
@pytest.mark.parametrize("detector", [Detector(79, 4, 1), Detector(20, 3, 4)], ids=str)
def test_the_celestial_pole(detector, tmp_path):
    plan = plan_at_the_pole(detector, 20)
    sky = GalsimSky(plan, things_at_the_pole(plan), Seeing("moffat"))
    simulation = sky.make(tmp_path / "sky")
    root = tmp_path / "data"
    invoke(
        *("pipeline", simulation.ffi, "--archive", simulation.archive, "--data-root", root),
        *("--roi", plan.field, "--background", "none", "--cores", 1),
        *("--multi-offset-array", ",".join(f"{dx},{dy}" for dx, dy in OFFSETS)),
    )
    layout = Layout.under(str(root), detector)
    places = {o: layout.template(*o, roi=plan.field) for o in OFFSETS}
    check({o: Product.read(Path(str(place))) for o, place in places.items()}, sky, 40.0)


def test_a_wrong_response_is_noticed():
    plan = plan_at("centre", 16)
    sky = GalsimSky(plan, mixture(plan.field)[:1], Seeing())
    one, other = (sky.truth(0, sigma, (0.0, 0.0)) for sigma in (40.0, 40.1))
    assert abs(one - other).max() > LARGEST * one.max()


@pytest.mark.parametrize("place", ["centre", pytest.param("corner", marks=pytest.mark.full)])
def test_a_measured_response(place, tmp_path):
    """An asymmetric response as GalSim interpolates its files: the image of stars as PS1 has them.

    Stars of mean PS1 seeing and no colour: the seeing that is taken out is all of it.
    """
    plan = plan_at(place, 16)
    at = [(3.2, 3.1), (11.6, 11.1)]
    things = tuple(Thing(plan.field.x0 + x, plan.field.y0 + y, (FLUX[1],) * 4) for x, y in at)
    sky = GalsimSky(plan, things, MEAN_SEEING)
    simulation = sky.make(tmp_path / "sky")
    folder = write_prf_files(PrfConfig(noise=0.0), plan.ffi.detector, simulation.prf)
    products = run_command(simulation, tmp_path / "data", Run(psf_sigma=None, roi=plan.field))
    for offset, product in products.items():
        for thing in things:
            x, y = thing.x + offset[0], thing.y + offset[1]
            truth = FLUX[1] * response_stamp(folder, (thing.x, thing.y), offset)
            i, j = round(x) - product.window.x0, round(y) - product.window.y0
            found = product.flux[j - 3 : j + 4, i - 3 : i + 4]
            residual = (found - truth[3:-3, 3:-3]) / truth.max()
            # blending the responses of a tile's corners leaves 9e-5; GalSim's interpolation 4e-6
            assert abs(residual).max() < 2e-4, offset
            assert abs(found.sum() / truth[3:-3, 3:-3].sum() - 1) < 1e-4, offset
            assert abs(truth - truth[::-1, ::-1]).max() > 0.02 * truth.max()


@pytest.mark.full
def test_the_template_of_an_ffi_that_looks_elsewhere(tmp_path):
    """Rolled, scaled, with another velocity: GalSim draws the same sky through its own WCS."""
    sky = sky_at("corner", Seeing("moffat"))
    field, root = sky.plan.field, tmp_path / "data"
    simulation = sky.make(tmp_path / "sky")
    run_command(simulation, root, Run(roi=field, offsets=OFFSETS[:1]))
    later = repointed(
        replace(sky.plan.ffi, noise=False),
        cadences=3,
        roll_arcsec=-9.0,
        shift_arcsec=(-12.0, 5.0),
        scale=1 + 3e-5,
        velocity_km_s=(-5, 4, 3),
    )
    path = simulation.add_ffi(later)
    where = ("--data-root", root, "--roi", field)
    done = invoke("downsample", 20, 3, 3, *where, "--follow", path)
    product = Product.read(Path(done.stdout.splitlines()[-1]))
    truth = expected(sky.seen_by(later), product.window, psf_sigma=40.0, offset=(0.0, 0.0))
    assert product.header["SHIFTMAX"] > 0.2
    residual = (product.flux - truth) / truth.max()
    assert np.sqrt((residual**2).mean()) < RMS
    assert abs(residual).max() < LARGEST
    assert abs(product.flux.sum() / truth.sum() - 1) < TOTAL
