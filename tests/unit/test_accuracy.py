import numpy as np
import pytest

from syndiff.masks import DataQuality
from syndiff.simulation import Simulation, plan_simulation
from syndiff.simulation.accuracy import clean_pixels, compare_box, compare_field, flux_ratios
from syndiff.simulation.sky import Cap, make_sources
from syndiff.simulation.sources import unit_vectors
from syndiff.templates.template import Template


def gaussian(x0=10.0, y0=12.0, flux=1000.0, sigma=0.8):
    y, x = np.mgrid[:24, :24]
    return flux * np.exp(-0.5 * ((x - x0) ** 2 + (y - y0) ** 2) / sigma**2) / (2 * np.pi * sigma**2)


def test_a_perfect_star_has_no_error():
    found = compare_box(gaussian(), gaussian(), (10.0, 12.0))
    assert (found.rms, found.worst, found.flux, found.centroid_px) == (0, 0, 0, 0)


def test_a_brighter_star():
    truth = gaussian()
    found = compare_box(1.01 * truth, truth, (10.2, 11.7))
    assert found.flux == pytest.approx(0.01)
    assert found.worst == pytest.approx(0.01)
    assert found.centroid_px == pytest.approx(0, abs=1e-12)


def test_a_moved_star():
    found = compare_box(gaussian(10.003, 12.004), gaussian(), (10.0, 12.0))
    # The box ends at 2.5 px, 3 sigma: 3 % of the second moment lies outside.
    assert found.centroid_px == pytest.approx(0.005, rel=0.1)


def test_one_bad_pixel_is_the_worst():
    truth = gaussian()
    template = truth.copy()
    template[13, 11] -= 0.05 * truth.max()
    found = compare_box(template, truth, (10.0, 12.0))
    assert found.worst == pytest.approx(0.05)
    assert found.rms == pytest.approx(0.05 / 5)  # one pixel of 25


def template_of(flux, uncertainty=1.0):
    shape = flux.shape
    zeros = np.zeros(shape, np.int32)
    return Template(
        flux=flux.astype(np.float32),
        count=zeros + 6000,
        mask=zeros.copy(),
        uncertainty=np.full(shape, uncertainty, np.float32),
        coverage=np.ones(shape, np.float32),
        quality=zeros.copy(),
        faint=np.zeros(shape, np.float32),
        faint_error=np.zeros(shape, np.float32),
    )


def test_pixels_near_a_saturated_star_are_not_clean():
    template = template_of(np.zeros((12, 12)))
    template.quality[5, 5] = DataQuality.SATURATED_IN_PS1
    template.quality[0, 11] = DataQuality.PARTIAL_COVERAGE
    clean = clean_pixels(template)
    assert not clean[3:8, 3:8].any()
    assert not clean[0, 11]
    assert clean.sum() == 144 - 25 - 1


@pytest.fixture(scope="module")
def simulation():
    """Sources and truth of a field of 12 x 12 pixels; nothing is on disk."""
    plan = plan_simulation(size_px=12, seed=5)
    middle = unit_vectors(*(np.array([v]) for v in sky_of(plan, 1000.0, 1020.0)))
    # 3 arcmin: the field, 2 arcmin to each side, and a little more.
    sources = make_sources(plan.sky, Cap(tuple(middle[0].tolist()), 0.05))
    made = Simulation("nowhere", plan)
    made.__dict__["sources"] = sources
    return made


def sky_of(plan, x, y):
    from syndiff.simulation.ffi import wcs_of

    return (float(v) for v in wcs_of(plan.ffi.wcs_cards).all_pix2world(x, y, 0))


def test_a_field_with_noise_is_within_its_errors(simulation):
    rng = np.random.default_rng(3)
    truth = simulation.truth(offset=(0.2, 0.1))
    template = template_of(truth + 2.0 * rng.standard_normal(truth.shape), 2.0)
    found = compare_field(template, simulation, (0.2, 0.1), min_coverage=0.5)
    assert found.pixels == 144
    assert found.lost == 0
    assert found.scatter == pytest.approx(1, abs=0.25)  # 1 / sqrt(2 * 144) = 0.06, four times
    assert abs(found.flux) < 4 * found.flux_error
    assert found.shift_px < 5 * found.shift_error_px


def test_a_moved_and_dimmed_field_is_found_out(simulation):
    truth = simulation.truth(offset=(0.21, 0.1))
    found = compare_field(template_of(0.98 * truth), simulation, (0.2, 0.1), min_coverage=0.5)
    # Only stars of magnitude 20 and brighter tell the position, and a shift is taken as linear.
    assert found.shift_px == pytest.approx(0.01, rel=0.05)
    assert found.flux == pytest.approx(-0.02, abs=1e-3)


def test_lost_pixels_are_counted(simulation):
    template = template_of(simulation.truth())
    template.flux[0, :3] = np.nan
    template.quality[0, :3] = DataQuality.NO_COVERAGE
    template.coverage[0, 2] = 0.4
    assert compare_field(template, simulation, (0.0, 0.0), min_coverage=0.5).lost == 2


def test_flux_ratios_by_magnitude(simulation):
    sources = simulation.sources
    mags = 25 - 2.5 * np.log10(sources.composite_flux)
    dimmed = sources[(sources.sersic == 0) & (mags >= 17) & (mags < 20)]
    flux = simulation.truth() - 0.1 * simulation.truth(sources=dimmed)
    bright, faint = flux_ratios(template_of(flux), simulation, (0.0, 0.0), (14.0, 17.0, 20.0))
    assert (bright.bright_mag, bright.faint_mag, faint.faint_mag) == (14.0, 17.0, 20.0)
    # Templates are in float32: 6e-8 of values up to 1e4, over the flux of a bin.
    assert bright.ratio == pytest.approx(1.0, abs=1e-4)
    assert faint.ratio == pytest.approx(0.9, abs=1e-4)
    assert 0 < bright.stars < len(sources)


def test_a_bin_without_stars_says_so(simulation):
    (found,) = flux_ratios(template_of(simulation.truth()), simulation, (0.0, 0.0), (5.0, 6.0))
    assert found.stars == 0
    assert found.error == np.inf
    assert found.ratio == 0
