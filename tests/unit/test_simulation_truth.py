"""The truth against integrals that are done another way."""

from dataclasses import replace

import numpy as np
import pytest
from astropy.wcs import WCS

from syndiff.errors import ConfigError
from syndiff.simulation.ffi import example_wcs
from syndiff.simulation.profiles import PsfConfig
from syndiff.simulation.sky import Cap, SkyConfig, TestStar, make_sources
from syndiff.simulation.sources import PS1_EPOCH_YEAR
from syndiff.simulation.truth import blobs_of, integrate
from syndiff.window import Window

FAR = Cap((0.0, 0.0, -1.0), 0.1)
WCS_FFI = example_wcs()


def sky_at(x, y, mag=15.0):
    ra, dec = WCS_FFI.all_pix2world(x, y, 0)
    star = TestStar(float(ra), float(dec), mag)
    return make_sources(SkyConfig(0.0, 0.0, stars=(star,)), FAR)


def truth(sources, window, *, sigma=40.0, seeing=None, offset=(0.0, 0.0)):
    seeing = seeing or PsfConfig()
    blobs = blobs_of(sources, psf_sigma_px=sigma, seeing=seeing, year=PS1_EPOCH_YEAR)
    return integrate(blobs, WCS_FFI, window, offset=offset, psf_sigma_px=sigma)


def centroid(image, window):
    y, x = np.mgrid[window.y0 : window.y1, window.x0 : window.x1]
    return (image * x).sum() / image.sum(), (image * y).sum() / image.sum()


def touching_plane(sources):
    """Return a plane that touches the sky at the only source, in arcsec."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [sources.ra[0], sources.dec[0]]
    wcs.wcs.crpix = [1.0, 1.0]
    wcs.wcs.cdelt = [1 / 3600, 1 / 3600]
    wcs.wcs.set()
    return wcs


def midpoint_rule(density, sources, window, fine=120):
    """Integrate a density (per arcsec^2) over pixels by brute force."""
    out = np.zeros(window.shape)
    plane = touching_plane(sources)

    def on_plane(x, y):
        ra, dec = WCS_FFI.all_pix2world(x, y, 0)
        return np.stack(plane.all_world2pix(ra, dec, 0))

    u = (np.arange(fine) + 0.5) / fine - 0.5
    for j in range(window.shape[0]):
        for i in range(window.shape[1]):
            x, y = (a.ravel() for a in np.meshgrid(window.x0 + i + u, window.y0 + j + u))
            dx = (on_plane(x + 0.01, y) - on_plane(x - 0.01, y)) / 0.02
            dy = (on_plane(x, y + 0.01) - on_plane(x, y - 0.01)) / 0.02
            area = np.abs(dx[0] * dy[1] - dx[1] * dy[0])
            out[j, i] = (density(*on_plane(x, y)) * area).mean()
    return out


@pytest.mark.parametrize("place", [(1000.3, 1020.4), (46.2, 2.9), (2089.6, 2045.1)])
def test_star_matches_brute_force_anywhere_on_the_ccd(place):
    sources = sky_at(*place)
    x, y = (round(v) for v in place)
    window = Window(x - 1, y - 1, x + 2, y + 1)
    seeing = PsfConfig((1.2, 1.1, 1.0, 0.9), "gaussian")
    variances = np.array([seeing.mixture(b)[1][0] for b in range(4)]) + 100.0 + 0.0625 / 12
    fluxes = sources.flux[0] * np.array((0.238, 0.344, 0.283, 0.135))

    def density(e, n):
        r2 = (e * e + n * n)[:, None]
        return (fluxes / (2 * np.pi * variances) * np.exp(-r2 / (2 * variances))).sum(1)

    expected = midpoint_rule(density, sources, window)
    # The midpoint rule's error: (1/120)^2 / 24 of the curvature, 4 per px^2: 1e-5.
    error = truth(sources, window, seeing=seeing) - expected
    assert np.abs(error).max() < 3e-5 * expected.max()


def test_galaxy_matches_brute_force():
    sources = replace(
        sky_at(1000.3, 1020.4),
        sersic=np.array([1]),
        radius_arcsec=np.array([12.0]),
        axis_ratio=np.array([0.4]),
        angle_deg=np.array([60.0]),
    )
    window = Window(999, 1020, 1001, 1022)
    seeing = PsfConfig((1.0,) * 4, "gaussian")
    from syndiff.simulation.profiles import galaxy_mixture

    angle = np.radians(60.0)
    major = np.array([np.sin(angle), np.cos(angle)])
    minor = np.array([np.cos(angle), -np.sin(angle)])
    shape = 144.0 * (np.outer(major, major) + 0.16 * np.outer(minor, minor))
    round_part = (100.0 + 0.0625 / 12 + seeing.mixture(0)[1][0]) * np.eye(2)

    def density(e, n):
        total, at = 0.0, np.stack([e, n], -1)
        for weight, variance in zip(*galaxy_mixture(1), strict=True):
            covariance = variance * shape + round_part
            q = np.einsum("ki,ij,kj->k", at, np.linalg.inv(covariance), at)
            total += weight * np.exp(-q / 2) / (2 * np.pi * np.sqrt(np.linalg.det(covariance)))
        return sources.composite_flux[0] * total

    expected = midpoint_rule(density, sources, window)
    error = truth(sources, window, seeing=seeing) - expected
    assert np.abs(error).max() < 3e-5 * expected.max()


@pytest.mark.parametrize("sigma", [20.0, 40.0, 60.0])
@pytest.mark.parametrize("place", [(1000.31, 1020.44), (60.5, 2030.2)])
def test_all_the_light_is_there(sigma, place):
    sources = sky_at(*place)
    x, y = (round(v) for v in place)
    image = truth(sources, Window(x - 14, y - 14, x + 15, y + 15), sigma=sigma)
    # 1e-8 by the quadrature; Moffat wings and what is cut at 1e-10 add less.
    assert image.sum() == pytest.approx(sources.composite_flux[0], rel=1e-7)


def test_star_stands_where_the_wcs_puts_it():
    sources = sky_at(1000.31, 1020.44)
    window = Window(985, 1005, 1016, 1036)
    # Sigma 80 is sampled well enough for centroids; the WCS's curvature moves them by 2e-5 px^-1
    # times the variance, 1 px^2.
    assert centroid(truth(sources, window, sigma=80.0), window) == pytest.approx(
        (1000.31, 1020.44), abs=1e-4
    )


@pytest.mark.parametrize("offset", [(0.37, -0.21), (-0.5, 0.5), (2.0, -2.0)])
def test_sources_move_by_the_offset(offset):
    sources = sky_at(1000.31, 1020.44)
    window = Window(985, 1005, 1016, 1036)
    still = centroid(truth(sources, window, sigma=80.0), window)
    moved = centroid(truth(sources, window, sigma=80.0, offset=offset), window)
    assert np.subtract(moved, still) == pytest.approx(offset, abs=1e-6)


def test_whole_offset_is_a_shift_of_the_image():
    sources = sky_at(1000.31, 1020.44)
    image = truth(sources, Window(990, 1010, 1010, 1030))
    moved = truth(sources, Window(991, 1008, 1011, 1028), offset=(1.0, -2.0))
    np.testing.assert_allclose(moved, image, atol=1e-9 * image.max())


def test_window_can_be_cut_anywhere():
    sources = sky_at(1000.31, 1020.44)
    whole = Window(960, 980, 1040, 1060)
    part = Window(995, 1013, 1012, 1029)
    image = truth(sources, whole)
    rows = slice(part.y0 - whole.y0, part.y1 - whole.y0)
    columns = slice(part.x0 - whole.x0, part.x1 - whole.x0)
    # Which node a source's reach is measured to doesn't depend on the window.
    np.testing.assert_array_equal(truth(sources, part), image[rows, columns])


def test_images_add_up():
    one, two = sky_at(1000.3, 1020.4), sky_at(1003.1, 1018.8, mag=17.0)
    window = Window(992, 1012, 1012, 1030)
    both = truth(one.joined(two), window)
    np.testing.assert_allclose(both, truth(one, window) + truth(two, window), rtol=1e-13)


def test_finer_nodes_change_nothing(monkeypatch):
    sources = sky_at(1000.31, 1020.44)
    window = Window(994, 1014, 1007, 1027)
    blobs = blobs_of(sources, psf_sigma_px=40.0, seeing=PsfConfig(), year=PS1_EPOCH_YEAR)
    usual = integrate(blobs, WCS_FFI, window, psf_sigma_px=40.0)
    finer = integrate(blobs, WCS_FFI, window, psf_sigma_px=20.0)
    assert np.abs(usual - finer).max() < 1e-7 * usual.max()


def test_view_without_seeing_is_sharper():
    sources = sky_at(1000.31, 1020.44)
    window = Window(994, 1014, 1007, 1027)
    blobs = blobs_of(sources, psf_sigma_px=40.0, seeing=None, year=PS1_EPOCH_YEAR)
    sharp = integrate(blobs, WCS_FFI, window)
    assert sharp.max() > truth(sources, window).max()
    assert sharp.sum() == pytest.approx(sources.composite_flux[0], rel=1e-7)


def test_empty_sky_is_dark():
    nothing = make_sources(SkyConfig(0.0, 0.0), FAR)
    assert not truth(nothing, Window(0, 0, 40, 8)).any()


def test_narrow_response_is_refused():
    with pytest.raises(ConfigError, match=r"psf_sigma_px 4.0 is too narrow .* give 8 or more"):
        truth(sky_at(1000.0, 1000.0), Window(990, 990, 1010, 1010), sigma=4.0)
