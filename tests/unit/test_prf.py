"""Pixel responses: where their spectrum may be cut, and how they follow the sky."""

import numpy as np
import pytest
from onestar import ccd_frame
from scipy.special import erf

from syndiff.errors import ConfigError
from syndiff.prf import GaussianResponse, sky_jacobian, spectral_cut
from syndiff.tiles import REACH_PX
from syndiff.window import Window

SCIENCE = Window(44, 0, 2092, 2048)


@pytest.mark.parametrize(
    ("sigma", "scale_arcsec", "cut"),
    [(60, 21.0, 1.0), (60, 18.9, 1.0), (40, 21.0, 1.5), (40, 18.9, 1.25), (30, 21.0, 1.75)],
)
def test_cuts_of_usual_widths(sigma, scale_arcsec, cut):
    assert spectral_cut(sigma * 0.25 / scale_arcsec) == cut


@pytest.mark.parametrize("sigma_px", [0.36, 0.48, 0.6, 0.9, 3.0])
def test_what_a_cut_discards_changes_no_value_by_more_than_promised(sigma_px):
    """The star itself, in one dimension, with and without the spectrum beyond the cut."""
    cut = spectral_cut(sigma_px)
    k = (np.arange(160_000) + 0.5) / 20_000
    spectrum = np.exp(-2 * (np.pi * sigma_px * k) ** 2) * np.sinc(k)
    x = np.arange(-30, 31) * 0.1
    waves = np.cos(2 * np.pi * x[:, None] * k[k < cut]) * spectrum[k < cut]
    kept = 2 * waves.sum(axis=1) / 20_000
    edge = np.sqrt(2) * sigma_px
    star = 0.5 * (erf((x + 0.5) / edge) - erf((x - 0.5) / edge))
    assert np.abs(kept - star).max() <= 2e-5 * star.max()


@pytest.mark.parametrize("sigma_px", [20 * 0.25 / 21, 0.1])
def test_sharp_responses_are_refused(sigma_px):
    with pytest.raises(
        ConfigError, match=r"response of 0\.\d+ TESS pixels .* is too sharp .*2 cyc"
    ):
        spectral_cut(sigma_px)


def test_widths_that_no_scene_can_hold_are_refused():
    frame = ccd_frame(SCIENCE)
    with pytest.raises(ConfigError, match="too sharp for the scene"):
        GaussianResponse(frame, 20.0)
    with pytest.raises(ConfigError, match=r"psf-sigma 200\.0 .*too wide: .* give \d+ or less"):
        GaussianResponse(frame, 200.0)


def test_the_advice_for_refused_widths_works():
    frame = ccd_frame(SCIENCE)
    assert GaussianResponse(frame, 30.0).cut == 2.0
    with pytest.raises(ConfigError) as error:
        GaussianResponse(frame, 1000.0)
    most = float(str(error.value).rsplit(" or less", 1)[0].rsplit(" ", 1)[1])
    assert GaussianResponse(frame, most).reach_px <= REACH_PX
    with pytest.raises(ConfigError, match="too wide"):
        GaussianResponse(frame, most + 1)


def test_the_jacobian_is_that_of_the_wcs():
    """Against a step on the sky by astropy; an edge of 1e-3 px and the SIP's curvature apart."""
    frame = ccd_frame(SCIENCE)
    x, y = np.array([50.0, 1000.0, 2080.0]), np.array([10.0, 1500.0, 2040.0])
    found = sky_jacobian(frame, x, y)
    assert found.shape == (3, 2, 2)
    ra, dec = frame.wcs.all_pix2world(x, y, 0)
    step = 1.0 / 3600
    east = frame.wcs.all_world2pix(ra + step / np.cos(np.deg2rad(dec)), dec, 0, tolerance=1e-9)
    north = frame.wcs.all_world2pix(ra, dec + step, 0, tolerance=1e-9)
    for k, moved in enumerate((east, north)):
        wanted = 0.25 * np.stack([moved[0] - x, moved[1] - y], axis=-1)
        np.testing.assert_allclose(found[:, :, k], wanted, rtol=0, atol=1e-6)


def test_jacobians_cross_the_meridian_of_zero():
    """RA jumps by 360 degrees there."""
    from smallsky import small_frame

    shape = np.linalg.svd(sky_jacobian(small_frame(0.0, 40.0), 20.0, 20.0), compute_uv=False)
    elsewhere = np.linalg.svd(sky_jacobian(small_frame(77.0, 40.0), 20.0, 20.0), compute_uv=False)
    np.testing.assert_allclose(shape, elsewhere, rtol=1e-9)


def test_transfers_are_gaussian_times_pixel():
    frame = ccd_frame(SCIENCE)
    response = GaussianResponse(frame, 40.0)
    jacobian = np.array([[0.012, 0.003], [-0.002, 0.011]])
    kx, ky = np.array([0.0, 0.3, 1.0]), np.array([0.0, -0.7])
    found = response.transfer(0.0, 0.0, jacobian, kx, ky)
    for j, i in np.ndindex(2, 3):
        k = np.array([kx[i], ky[j]])
        along = jacobian.T @ k * 40.0
        wanted = np.exp(-2 * np.pi**2 * along @ along) * np.sinc(kx[i]) * np.sinc(ky[j])
        assert found[j, i] == pytest.approx(wanted, rel=1e-12)
    assert found[0, 0] == 1
