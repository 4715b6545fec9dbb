"""Simulated skycells: all the light, in the right place, spoilt as the survey spoils it."""

from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits

from syndiff.errors import ConfigError
from syndiff.masks import StackMask
from syndiff.simulation.grid import skycell_wcs
from syndiff.simulation.profiles import PsfConfig
from syndiff.simulation.sky import Cap, SkyConfig, TestGalaxy, TestStar, make_sources
from syndiff.simulation.survey import (
    NOISE_CORRELATION,
    StackConfig,
    render_light,
    warped_noise,
    write_skycell,
)
from syndiff.sky.tessellation import Skycell

CELL = Skycell(
    name="skycell.0007.031",
    nx=520,
    ny=480,
    crval=(216.0, 76.0),
    crpix=(9000.5, -4000.0),
    cdelt=(6.944444612599909e-05, 6.944444612599909e-05),
    pc=(-1.0, 0.0, 0.0, 1.0),
)
FAR = Cap((0.0, 0.0, -1.0), 0.1)
CLEAN = StackConfig(noise=False, artefacts=False)


def star_at(x, y, mag, **more):
    ra, dec = skycell_wcs(CELL).all_pix2world(x, y, 0)
    return TestStar(float(ra), float(dec), mag, **more)


def sky_of(*stars):
    return make_sources(SkyConfig(0.0, 0.0, stars=stars), FAR)


def galaxy_of(star, **shape):
    source = sky_of(star)
    values = {name: np.full(1, value) for name, value in shape.items()}
    return replace(source, **values)


def moments(image):
    y, x = np.indices(image.shape)
    total = image.sum()
    cx, cy = (image * x).sum() / total, (image * y).sum() / total
    xx = (image * (x - cx) ** 2).sum() / total
    yy = (image * (y - cy) ** 2).sum() / total
    xy = (image * (x - cx) * (y - cy)).sum() / total
    return total, cx, cy, xx, xy, yy


def read_flux(archive, suffix, band="r"):
    path = archive / "0007" / "031" / f"rings.v3.{CELL.name}.stk.{band}.unconv{suffix}.fits"
    with fits.open(path, disable_image_compression=True) as hdus:
        header = hdus[1].header
    values = fits.getdata(path, 1)
    if suffix == ".mask":
        return values
    linear = header["BOFFSET"] + 2 * header["BSOFTEN"] * np.sinh(values.astype(float) / 1.0857362)
    return linear / header["EXPTIME"] ** (2 if suffix == ".wt" else 1)


@pytest.mark.parametrize("shape", ["moffat", "gaussian"])
@pytest.mark.parametrize("band", [0, 3])
def test_star_has_its_flux_place_and_width(shape, band):
    config = replace(CLEAN, psf=PsfConfig(shape=shape))
    sources = sky_of(star_at(250.3, 240.8, 16.0))
    total, cx, cy, xx, xy, yy = moments(render_light(CELL, sources, config, band=band))
    # Light under the floor is left out: a few 1e-5 sigma per Gaussian.
    assert total == pytest.approx(sources.flux[0, band], rel=1e-6)
    assert (cx, cy) == pytest.approx((250.3, 240.8), abs=1e-5)
    weights, variances = config.psf.mixture(band)
    expected = (weights * variances).sum() / 0.25**2 + 1 / 12
    # 0.7 degrees from the tangent point, the plane's pixels are 1e-4 smaller than 0.25".
    assert (xx, yy) == pytest.approx((expected, expected), rel=1e-3)
    assert xy == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("sersic", [1, 4])
def test_galaxy_has_its_flux_and_direction(sersic):
    galaxy = galaxy_of(
        star_at(260.4, 230.2, 17.0),
        sersic=np.int64(sersic),
        radius_arcsec=1.5,
        axis_ratio=0.4,
        angle_deg=30.0,
    )
    total, cx, cy, xx, xy, yy = moments(render_light(CELL, galaxy, CLEAN, band=1))
    assert total == pytest.approx(galaxy.flux[0, 1], rel=1e-5)
    assert (cx, cy) == pytest.approx((260.4, 230.2), abs=1e-4)
    # x grows to the west, so an axis 30 degrees east of north leans to the left; away from the
    # tangent point's meridian north itself is turned a little.
    x, y = skycell_wcs(CELL).all_world2pix(galaxy.ra, galaxy.dec + 1e-3, 0)
    north = np.degrees(np.arctan2(x[0] - 260.4, y[0] - 230.2))
    angle = 0.5 * np.degrees(np.arctan2(2 * xy, yy - xx))
    assert angle == pytest.approx(north - 30.0, abs=0.1)


def test_stars_of_a_neighbour_reach_into_the_skycell():
    image = render_light(CELL, sky_of(star_at(-2.0, 100.0, 14.0)), CLEAN, band=0)
    assert image[100, 0] > 100
    assert image[300, 300] == 0


def test_no_source_makes_an_empty_skycell():
    assert not render_light(CELL, sky_of(), CLEAN, band=0).any()


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    archive = tmp_path_factory.mktemp("clean")
    sources = sky_of(star_at(250.3, 240.8, 15.0))
    write_skycell(CELL, sources, CLEAN, seed=1, archive=archive)
    return archive, sources


def test_clean_files_hold_exactly_the_light(clean):
    archive, sources = clean
    for index, band in enumerate("rizy"):
        flux = read_flux(archive, "", band)
        # Relative steps of 1.8e-4 average out over the star's pixels.
        assert flux.sum() == pytest.approx(sources.flux[0, index], rel=4e-5)
        assert not read_flux(archive, ".mask", band).any()
        assert (read_flux(archive, ".wt", band) > 0).all()


def test_scalings_differ_from_file_to_file(clean):
    archive, _ = clean
    headers = []
    for path in sorted(archive.rglob("*unconv.fits")):
        with fits.open(path, disable_image_compression=True) as hdus:
            headers.append(hdus[1].header)
    assert len({header["BSOFTEN"] for header in headers}) == 4
    assert len({header["BOFFSET"] for header in headers}) == 4


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory):
    archive = tmp_path_factory.mktemp("spoilt")
    stars = (star_at(250.3, 240.8, 11.0), star_at(100.0, 100.0, 12.8), star_at(400.0, 90.0, 15.0))
    sources = sky_of(*stars)
    write_skycell(CELL, sources, StackConfig(), seed=1, archive=archive)
    return archive, sources


def test_skycell_does_not_depend_on_others(spoilt, tmp_path):
    archive, sources = spoilt
    far = sky_of(TestStar(10.0, 10.0, 9.0))
    write_skycell(CELL, sources.joined(far), StackConfig(), seed=1, archive=tmp_path)
    for path in archive.rglob("*.fits"):
        assert (tmp_path / path.relative_to(archive)).read_bytes() == path.read_bytes()


def test_another_seed_makes_another_skycell(spoilt, tmp_path):
    archive, sources = spoilt
    write_skycell(CELL, sources, StackConfig(), seed=2, archive=tmp_path)
    assert not np.array_equal(read_flux(tmp_path, ""), read_flux(archive, ""), equal_nan=True)


def test_border_is_blank(spoilt):
    archive, _ = spoilt
    for suffix in ("", ".wt"):
        flux = read_flux(archive, suffix)
        assert np.isnan(flux[:3]).all()
        assert np.isnan(flux[:, -3:]).all()
    mask = read_flux(archive, ".mask")
    assert (mask[:3] & StackMask.BLANK).all()


def test_saturated_stars_have_flagged_cores_and_spikes(spoilt):
    archive, _ = spoilt
    flux, mask = read_flux(archive, ""), read_flux(archive, ".mask")
    core = int(StackMask.SAT | StackMask.STARCORE)
    assert mask[241, 250] & core == core
    assert mask[100, 100] & core == core
    assert not mask[90, 400] & core
    assert np.isnan(flux[241, 250])
    assert not np.isnan(flux[100, 100])
    assert (mask & StackMask.SPIKE).any()


def test_many_kinds_of_bits_occur(spoilt):
    archive, _ = spoilt
    seen = 0
    for band in "rizy":
        seen |= int(np.bitwise_or.reduce(read_flux(archive, ".mask", band), axis=None))
    for bit in (StackMask.LOW, StackMask.SUSPECT, StackMask.CR, StackMask.GHOST, StackMask.STREAK):
        assert seen & bit


def test_noise_follows_the_variance_and_is_correlated(tmp_path):
    # Halos of saturated stars would count as noise.
    config = replace(CLEAN, noise=True)
    sources = sky_of(star_at(100.0, 100.0, 12.8), star_at(400.0, 90.0, 15.0))
    write_skycell(CELL, sources, config, seed=1, archive=tmp_path)
    light = render_light(CELL, sources, config, band=2)
    flux, variance = read_flux(tmp_path, "", "z"), read_flux(tmp_path, ".wt", "z")
    pull = ((flux - light) / np.sqrt(variance))[10:-10, 260:-10]
    pull = np.where(np.isfinite(pull) & (light[10:-10, 260:-10] < 1), pull, 0)
    # 1.1e5 pixels, most of them kept: 0.5 % twice over.
    assert pull[pull != 0].std() == pytest.approx(1, abs=0.02)
    sums = pull[:450, :240].reshape(45, 10, 24, 10).sum((1, 3)) / 10
    # Edges of 10-pixel sums lose a tenth of the correlation; 1080 sums: 2 %.
    assert sums.std() == pytest.approx(NOISE_CORRELATION, rel=0.12)


def test_skycells_of_a_projection_show_the_same_noise(tmp_path):
    shifted = replace(CELL, name="skycell.0007.030", crpix=(CELL.crpix[0] - 120, CELL.crpix[1]))
    pulls = []
    for cell, root in ((CELL, tmp_path / "a"), (shifted, tmp_path / "b")):
        config = replace(CLEAN, noise=True)
        write_skycell(cell, sky_of(), config, seed=1, archive=root)
        flux, variance = (
            fits.getdata(next(root.rglob(f"*.r.unconv{suffix}.fits"))) for suffix in ("", ".wt")
        )
        pulls.append(flux / np.sqrt(variance))
    # Codes step by a fraction of the noise.
    np.testing.assert_allclose(pulls[0][:, 120:], pulls[1][:, :-120], atol=0.1)


def test_turned_pixels_show_the_same_noise():
    """What a TESS pixel sums up is the same in any projection: the same photons."""
    angle = np.radians(5.6)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    sums = []
    for matrix in (np.eye(2), turn):
        warp = np.eye(3)
        warp[:2, :2] = matrix
        # the middle stays where it is
        warp[:2, 2] = np.array([7.3, 9.8]) + 150 - matrix @ np.array([150, 150])
        noise = warped_noise(warp, (301, 301), (1, 2))
        assert noise.std() == pytest.approx(1, rel=0.2)
        y, x = np.mgrid[-150:151, -150:151]
        sums.append((noise * np.exp(-(x**2 + y**2) / (2 * 40.0**2))).sum())
    spread = NOISE_CORRELATION * np.sqrt(np.pi) * 40
    assert abs(sums[0]) > 0.2 * spread  # a sum that says something
    assert sums[0] == pytest.approx(sums[1], abs=0.02 * spread)


def test_background_is_added_where_asked_for(tmp_path):
    write_skycell(CELL, sky_of(), replace(CLEAN, background_sigmas=0.5), seed=1, archive=tmp_path)
    flux, variance = read_flux(tmp_path, ""), read_flux(tmp_path, ".wt")
    np.testing.assert_allclose(np.median(flux) / np.median(np.sqrt(variance)), 0.5, rtol=0.1)


def test_ripple_is_the_exposures_and_each_skycell_has_a_step(tmp_path):
    shifted = replace(CELL, name="skycell.0007.030", crpix=(CELL.crpix[0] - 120, CELL.crpix[1]))
    config = replace(CLEAN, ripple_sigmas=0.5)
    found = []
    for cell, root in ((CELL, tmp_path / "a"), (shifted, tmp_path / "b")):
        write_skycell(cell, sky_of(), config, seed=1, archive=root)
        flux, variance = (
            fits.getdata(next(root.rglob(f"*.z.unconv{suffix}.fits"))) for suffix in ("", ".wt")
        )
        found.append(flux / np.sqrt(variance).mean())
    step = np.median(found[0][:, 120:] - found[1][:, :-120])
    assert abs(step) > 0.05
    # Stacks have different exposure times, and so somewhat different noise.
    ripples = [part - part.mean() for part in (found[0][:, 120:], found[1][:, :-120])]
    assert np.corrcoef(*(part.ravel() for part in ripples))[0, 1] > 0.98
    # a piece of 2 arcmin sees part of waves of 1 to 5
    assert 0.15 < found[0].std() < 0.9


def test_big_galaxies_have_dark_halos(tmp_path):
    middle = star_at(260.0, 240.0, 14.0)
    galaxy = TestGalaxy(middle.ra_deg, middle.dec_deg, 14.0, radius_arcsec=10.0)
    sources = make_sources(SkyConfig(0.0, 0.0, galaxies=(galaxy,)), FAR)
    images = []
    for halo, root in ((0.0, tmp_path / "a"), (0.1, tmp_path / "b")):
        write_skycell(CELL, sources, replace(CLEAN, dark_halo=halo), seed=1, archive=root)
        images.append(read_flux(root, ""))
    taken = images[0] - images[1]
    sigma = 4 * 10.0 / 0.25
    peak = 0.1 * sources.flux[0, 0] / (2 * np.pi * sigma**2)
    # Codes of asinh steps are fine where the galaxy is faint.
    assert np.median(taken[300:320, 400:420]) == pytest.approx(
        peak * np.exp(-(150**2 + 70**2) / (2 * sigma**2)), rel=0.05
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"ripple_sigmas": -0.1}, r"ripple_sigmas -0.1 is out of range: give 0 to 1"),
        ({"dark_halo": 2.0}, r"dark_halo 2.0 is out of range: give 0 to 1"),
        ({"floor_sigmas": 0.0}, r"floor_sigmas 0.0 must be above 0"),
        ({"background_sigmas": 11.0}, r"background_sigmas 11.0: give -10 to 10"),
    ],
)
def test_bad_stack_is_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        StackConfig(**arguments)
