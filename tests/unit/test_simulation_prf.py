"""The simulated response: its files against fine sums, its images against its files."""

from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits
from prffiles import FOLDER, STEM, USUAL, prf_grid, prf_tree
from scipy.stats import multivariate_normal

from syndiff.commands.display import pipeline_command
from syndiff.errors import ConfigError
from syndiff.layout import Detector
from syndiff.scenes.prf_cut import measured_cut
from syndiff.simulation import PsfConfig, Simulation, plan_simulation, simulate
from syndiff.simulation.ffi import E_PER_S_PER_FLUX, example_wcs
from syndiff.simulation.prf import PrfConfig, _edition, draw_sources
from syndiff.simulation.sky import Cap, SkyConfig, TestStar, make_sources
from syndiff.window import Window

FAR = Cap((0.0, 0.0, -1.0), 0.1)
WCS_FFI = example_wcs()
YEAR = 2012.75


def star_at(x, y):
    ra, dec = WCS_FFI.all_pix2world(x, y, 0)
    star = TestStar(float(ra), float(dec), 15.0)
    return make_sources(SkyConfig(0.0, 0.0, stars=(star,)), FAR)


def draw(sources, window, *, config=None, **options):
    return draw_sources(sources, config or USUAL, WCS_FFI, window, year=YEAR, **options)


def around(x, y, reach=6):
    i, j = round(x), round(y)
    return Window(i - reach, j - reach, i + reach + 1, j + reach + 1)


def test_files_are_those_of_mast(tmp_path):
    root = prf_tree(tmp_path)
    names = sorted(path.name for path in (root / FOLDER).iterdir())
    assert len(names) == 25
    assert names[7] == f"{STEM}-row0513-col1069.fits"
    with fits.open(root / FOLDER / names[7], checksum=True) as hdus:
        assert [hdu.data.shape for hdu in hdus] == [(117, 117)] * 2
        assert hdus[0].data.dtype == ">f8"
        header = hdus[0].header
    assert (header["CRVAL1P"], header["CRVAL2P"], header["CRPIX1P"]) == (1069, 513, 59)
    assert (header["CAM"], header["CCD"], header["NSAMP"]) == (3, 3, 9)
    assert header["CDELT2P"] == pytest.approx(1 / 9)


@pytest.mark.parametrize(
    ("detector", "edition"),
    [
        ((1, 1, 1), ("start_s0001", "2018243163600")),
        ((3, 2, 4), ("start_s0001", "2018243163601")),
        ((4, 1, 1), ("start_s0004", "2019107181900")),
        ((20, 3, 1), ("start_s0004", "2019107181901")),
        ((20, 3, 2), ("start_s0004", "2019107181902")),
    ],
)
def test_every_ccd_has_the_names_of_mast(detector, edition):
    assert _edition(Detector(*detector)) == edition


def test_samples_are_integrated_over_the_pixel():
    """Against a midpoint rule on a pixel, for stars at some places within one."""
    samples, config = prf_grid().samples[4, 3], USUAL
    fine = (np.arange(40) + 0.5) / 40 - 0.5
    for row, column in [(58, 58), (50, 63), (70, 71), (58, 31)]:
        u, v = (column - 58) / 9 + fine, (row - 58) / 9 + fine
        wanted = 0.0
        for share, dx, dy, xx, xy, yy in config.gaussians(2048, 1580):
            density = multivariate_normal((dx, dy), [[xx, xy], [xy, yy]])
            wanted += share * density.pdf(np.dstack(np.meshgrid(u, v))).mean()
        # the midpoint rule errs by 1e-4 of the second derivative's part of the peak
        assert samples[row, column] == pytest.approx(wanted, rel=2e-4, abs=1e-7)


def test_the_response_is_asymmetric_and_varies():
    samples = prf_grid().samples
    first, last = samples[0, 0], samples[4, 4]
    assert first.max() > 1.5 * last.max()
    assert np.abs(last - last[::-1, ::-1]).max() > 0.05 * last.max()
    sums = samples.reshape(5, 5, 13, 9, 13, 9).sum((2, 4))
    np.testing.assert_allclose(sums, 1, atol=3e-6)


def test_noise_is_as_in_masts_files():
    """Measured on three sets beyond 1.5 cycles per pixel; the limits are theirs."""
    noisy, clean = prf_grid(PrfConfig()).samples, prf_grid(PrfConfig(noise=0.0)).samples
    _, lost = measured_cut(noisy)
    assert 5e-3 < np.abs(lost).max(axis=(2, 3)).min() < 1.2e-2
    assert 2e-2 < np.abs(lost).max() < 3.8e-2
    assert np.abs(lost.mean((0, 1))).max() < 4e-3
    sums = noisy.reshape(5, 5, 13, 9, 13, 9).sum(axis=(2, 4))
    np.testing.assert_allclose(sums, 1, atol=1e-12)
    assert noisy.min() >= 0
    difference = noisy - clean
    core = clean > 0.5 * clean.max(axis=(2, 3), keepdims=True)
    assert 4e-3 < (difference / clean.max((2, 3))[..., None, None])[core].std() < 9e-3


def test_responses_are_as_wide_as_tesss():
    samples = prf_grid(PrfConfig(noise=0.0)).samples
    areas = (samples > samples.max((2, 3), keepdims=True) / 2).sum((2, 3)) / 81
    widths = np.sqrt(4 * areas / np.pi)
    assert np.median(widths) == pytest.approx(1.61, abs=0.03)
    assert 1.24 < widths.min() < 1.4 < 2.0 < widths.max() <= 2.14


def test_noise_is_that_of_the_seed_and_uncertainties_are_stated(tmp_path):
    paths = [prf_tree(tmp_path / str(k), PrfConfig(seed=seed)) for k, seed in enumerate((1, 1, 2))]
    name = f"{FOLDER}/{STEM}-row0001-col0045.fits"
    first, again, other = (fits.getdata(path / name) for path in paths)
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 5e-3 * first.max()
    stated = fits.getdata(paths[0] / name, 1)
    assert 0.03 < stated.max() / first.max() < 0.1


@pytest.mark.parametrize("node", [(1, 1), (2, 3)])
def test_images_at_the_files_places_are_the_files(node):
    """Stars on whole ninths of a pixel around a place where the response was measured."""
    row, column = node
    grid = prf_grid()
    x, y = grid.x[column], grid.y[row]
    sources = star_at(x, y)
    image = draw(sources, around(x, y))
    np.testing.assert_allclose(
        image / sources.composite_flux,
        grid.samples[row, column, 4::9, 4::9],
        atol=1e-7,  # astropy's inverse of the distortion
    )


def test_images_between_are_bilinear_in_the_stars_place():
    grid, (x, y) = prf_grid(), (44.0 + 128, 256.0)
    image = draw(star_at(x, y), around(x, y))
    near = grid.samples[:2, :2, 4::9, 4::9]
    wanted = 0.5 * (0.75 * near[:, 0] + 0.25 * near[:, 1]).sum(axis=0)
    np.testing.assert_allclose(image / image.sum(), wanted / wanted.sum(), atol=1e-6)


def test_offsets_move_the_image_and_keep_the_response():
    x, y = 900.0, 400.0
    moved = draw(star_at(x, y), around(x + 2, y - 1), offset=(2.0, -1.0))
    np.testing.assert_allclose(moved, draw(star_at(x, y), around(x, y)), rtol=1e-9)


def test_mean_seeing_leaves_nothing_and_worse_seeing_blurs():
    sources, window = star_at(900.3, 400.1), around(900.3, 400.1)
    plain = draw(sources, window)
    even = sources.flux.copy()
    even[:] = even.mean()
    sources = type(sources)(**{**vars(sources), "flux": even})
    plain = draw(sources, window)
    mean = draw(sources, window, seeing=PsfConfig((1.2, 1.1, 1.1, 1.0), "gaussian"))
    # variances that differ between bands average to the mean's to second order
    np.testing.assert_allclose(mean, plain, atol=1e-6 * plain.max())
    worse = draw(sources, window, seeing=PsfConfig((1.6,) * 4, "gaussian"))
    sharper = draw(sources, window, seeing=PsfConfig((0.8,) * 4, "gaussian"))
    assert worse.max() < plain.max() * (1 - 5e-4) < plain.max() * (1 + 5e-4) < sharper.max()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"core_px": 0.3}, r"core_px 0\.3 is too narrow: give 0\.4 or more"),
        ({"core_px": np.nan}, "too narrow"),
        ({"growth_px": -0.1}, r"growth_px -0\.1 must not be negative"),
        ({"noise": -1.0}, r"noise -1\.0 of pixel responses must not be negative"),
    ],
)
def test_impossible_responses_are_refused(values, message):
    with pytest.raises(ConfigError, match=message):
        PrfConfig(**values)


def test_unknown_models_are_refused():
    with pytest.raises(ConfigError, match=r"psf 'airy' is unknown: give 'gaussian' or 'prf'"):
        plan_simulation(psf="airy")


def test_a_simulation_keeps_its_response(tmp_path, monkeypatch):
    monkeypatch.setattr("syndiff.simulation.run.write_skycell", lambda *args, **more: None)
    plan = plan_simulation(kind="isolated", noise=False, size_px=4, psf="prf")
    plan = replace(plan, ffi=replace(plan.ffi, sky_e_per_s=0.0))
    made = simulate(plan, tmp_path / "sky")
    again = Simulation.load(tmp_path / "sky")
    assert again.config == plan
    assert len(list(again.prf.rglob("*.fits"))) == 25
    assert pipeline_command(again).endswith(f"--psf prf --prf-dir {again.prf}")
    truth = again.truth()
    np.testing.assert_array_equal(truth, made.truth())
    assert abs(truth - again.truth(psf_sigma_px=40.0)).max() > 0.05 * truth.max()
    light = fits.getdata(again.ffi)[again.config.field.slices] / E_PER_S_PER_FLUX
    # The seeing of the stacks has wings, of which 3e-3 stay in a template and none are in an FFI.
    np.testing.assert_allclose(light, truth, atol=5e-3 * truth.max())
