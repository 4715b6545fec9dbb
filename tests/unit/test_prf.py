"""Pixel responses: where their spectrum may be cut, and how they follow the sky."""

from dataclasses import replace

import numpy as np
import pytest
from onestar import ccd_frame
from prffiles import USUAL, prf_grid
from scipy.special import erf

from syndiff.errors import ConfigError, ResponseError, StorageError
from syndiff.ffi.tiles import REACH_PX
from syndiff.scenes.prf import (
    PS1_VARIANCE_PX2,
    GaussianResponse,
    PrfResponse,
    response_for,
    sky_jacobian,
    spectral_cut,
)
from syndiff.scenes.prf_cut import measured_cut
from syndiff.settings import Settings
from syndiff.storage.place import Place
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
    with pytest.raises(ConfigError, match=r"`psf_sigma` 200\.0 .*too wide: .* give \d+ or less"):
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
    found = response.transfer((0.0, 0.0), response.patch(0.0, 0.0), jacobian, kx, ky)
    for j, i in np.ndindex(2, 3):
        k = np.array([kx[i], ky[j]])
        along = jacobian.T @ k * 40.0
        wanted = np.exp(-2 * np.pi**2 * along @ along) * np.sinc(kx[i]) * np.sinc(ky[j])
        assert found[j, i] == pytest.approx(wanted, rel=1e-12)
    assert found[0, 0] == 1


NOTHING = np.zeros((2, 2))
"""A Jacobian that leaves PS1's seeing in."""

K = np.arange(-40, 40) / 16
"""Frequencies of an image of 16 px at 5 samples a pixel; measured responses end at 7 px."""


def image_at(response, x, y, patch=None, cut=3.0):
    """The response that light arriving at a pixel has had, at 5 samples a pixel, middle [40, 40].

    Frequencies to 2.5 cycles per pixel: the simulated response has 1e-8 beyond.
    """
    patch = patch or response.patch(x, y)
    spectrum = response.transfer((x, y), patch, NOTHING, K, K)
    spectrum *= (np.abs(K) <= cut)[:, None] * (np.abs(K) <= cut)
    image = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(spectrum)))
    assert np.abs(image.imag).max() < 1e-12
    return 25 * image.real


def of_each_star(grid, x, y):
    """The same from the files: each star's own response, bilinear between the nearest places."""
    offsets = (np.arange(80) - 40) / 5
    out = np.zeros((80, 80))
    for j, i in np.ndindex(80, 80):
        ux, uy = offsets[i], offsets[j]
        if max(abs(ux), abs(uy)) > 6.4 or (9 * ux) % 1 or (9 * uy) % 1:
            continue
        row, column = (round(58 + 9 * u) for u in (uy, ux))
        along = [np.interp(y - uy, grid.y, line) for line in np.eye(5)]
        across = [np.interp(x - ux, grid.x, line) for line in np.eye(5)]
        out[j, i] = np.array(along) @ grid.samples[:, :, row, column] @ np.array(across)
    return out


@pytest.fixture(scope="module")
def measured():
    return PrfResponse(prf_grid())


PLACES = {"inside": (700.0, 1200.0), "on a place": (556.0, 512.0), "near the corner": (2080, 2040)}


@pytest.mark.parametrize("place", PLACES)
def test_measured_responses_are_those_of_each_stars_own_place(measured, place):
    x, y = PLACES[place]
    found = image_at(measured, x, y)
    wanted = of_each_star(prf_grid(), x, y)
    seen = wanted > 0
    assert seen.sum() > 100
    # what files of 13 px leave out of one, 3e-7, and the other side of a place that was measured
    limit = 6e-5 if place == "on a place" else 1e-6
    assert np.abs(found - wanted)[seen].max() < limit * wanted.max()


def test_a_stars_own_place_is_not_the_pixels(measured):
    """So that the test above can fail: taking the pixel's place would err by more."""
    x = PLACES["inside"][0]
    still = PrfResponse(replace(prf_grid(), x=prf_grid().x - 1e-9))
    centred = np.tensordot([1 - (x - 556) / 512, (x - 556) / 512], still._nodes[2, 1:3], 1)
    assert np.abs(centred - still._nodes[2, 1]).max() > 1e-3 * centred.max()


def test_light_is_kept(measured):
    """Sums over pixels are one wherever in a pixel a star stands."""
    image = image_at(measured, 812.0, 768.0)
    for j, i in np.ndindex(5, 5):
        # Of stars around a pixel; as their displacement varies over the CCD, they crowd by 6e-5.
        assert image[j::5, i::5].sum() == pytest.approx(1, abs=8e-5)


def test_beyond_the_grid_it_is_that_of_the_edge(measured):
    edge = image_at(measured, 2091.0, 700.0, patch=(4, 1))
    assert measured.patch(2095.0, 700.0) == (4, 1)
    assert measured.patch(20.0, -3.0) == (-1, -1)
    np.testing.assert_allclose(image_at(measured, 2120.0, 700.0), edge, atol=1e-12)
    corner = image_at(measured, 20.0, -3.0)
    wanted = of_each_star(prf_grid(), 44.0 - 20, 0.0 - 20)
    np.testing.assert_allclose(corner[wanted > 0], wanted[wanted > 0], atol=1e-6 * wanted.max())


def test_neighbouring_patches_agree_where_they_meet(measured):
    one, other = (image_at(measured, 556.0, 700.0, patch=(k, 1)) for k in (0, 1))
    assert np.abs(one - other).max() < 1e-4 * one.max()


def test_ps1_is_taken_out():
    assert pytest.approx(3.5675 + 1 / 12, abs=1e-3) == PS1_VARIANCE_PX2
    response, k = PrfResponse(prf_grid()), np.array([0.0, 0.8])
    jacobian = np.array([[0.012, 0.003], [-0.002, 0.011]])
    with_it, without = (
        response.transfer((700.0, 700.0), (1, 1), j, k, k) for j in (NOTHING, jacobian)
    )
    along = jacobian.T @ np.array([0.8, 0.8])
    sharpened = np.exp(2 * np.pi**2 * PS1_VARIANCE_PX2 * along @ along)
    assert without[1, 1] == pytest.approx(with_it[1, 1] * sharpened, rel=1e-12)
    assert without[0, 0] == with_it[0, 0]


@pytest.mark.parametrize(("core", "cut"), [(0.65, 1.0), (0.55, 1.25), (0.45, 1.5)])
def test_cuts_follow_the_sharpest_response(core, cut):
    response = PrfResponse(prf_grid(replace(USUAL, core_px=core)))
    assert response.cut == cut
    assert response.discarded < 2e-5


def test_what_a_cut_of_measured_responses_discards_is_what_it_says():
    grid = prf_grid(replace(USUAL, core_px=0.45))
    nodes = grid.samples[:1, :1]
    cut, changes = measured_cut(nodes)
    discarded = np.abs(changes).max()
    assert cut == 1.5
    k = (np.arange(-450, 450) + 0.5) / 100
    u = (np.arange(117) - 58) / 9
    waves = np.exp(-2j * np.pi * k[:, None] * u) / 9
    spectrum = waves @ nodes[0, 0] @ waves.T
    kept = np.abs(k) <= cut
    spectrum[np.ix_(kept, kept)] = 0
    back = np.exp(2j * np.pi * u[:, None] * k) / 100
    change = np.abs((back @ spectrum @ back.T).real).max() / nodes.max()
    # frequencies in steps of 1/16 there, of 1/100 here
    assert discarded == pytest.approx(change, rel=0.2)


def with_noise(amount, samples=None):
    """Responses with noise of a part of their peaks, less where there is less light."""
    samples = prf_grid().samples if samples is None else samples
    peak = samples.max(axis=(2, 3), keepdims=True)
    noise = np.random.default_rng(4).normal(0, amount, samples.shape)
    return replace(prf_grid(), samples=_each_unit(samples + noise * np.sqrt(abs(samples) * peak)))


def _each_unit(samples):
    """Scale responses so that their 13 x 13 pixels sum to one, at each place of a star."""
    pixels = samples.reshape(5, 5, 13, 9, 13, 9)
    return (pixels / pixels.sum(axis=(2, 4), keepdims=True)).reshape(samples.shape)


@pytest.mark.parametrize("amount", [1e-4, 5e-3, 1.5e-2])
def test_noise_is_cut_off_and_told(amount, caplog):
    with caplog.at_level("INFO", "syndiff.scenes"):
        response = PrfResponse(with_noise(amount))
    assert response.cut == 1.5
    assert response.discarded == pytest.approx(2.7 * amount, rel=0.1)
    assert f"up to {response.discarded:.1e} of the peak (noise)" in caplog.text


def test_a_third_of_the_noise_is_below_the_cut():
    """Beside 1.4 % that MAST's noise of 0.5 % of the peak has beyond it."""
    grids = with_noise(5e-3), prf_grid()
    noisy, clean = (image_at(PrfResponse(grid), 556.0, 512.0, cut=1.5) for grid in grids)
    assert 1e-3 < np.abs(noisy - clean).max() / clean.max() < 6e-3


def test_too_much_noise_in_one_file_is_refused_and_the_file_named():
    grid = prf_grid()
    samples = grid.samples.copy()
    samples[1, 3] = with_noise(8e-2).samples[1, 3]
    message = (
        r"row 513, column 1580 has beyond 1\.5 cycles .* is 1\.\de-01 of its peak, at most 0\.1"
    )
    with pytest.raises(ResponseError, match=message):
        PrfResponse(replace(grid, samples=samples))


@pytest.mark.parametrize(("sigma", "refused"), [(0.3, False), (0.2, True), (0.05, True)])
def test_structure_that_all_places_share_is_no_noise(sigma, refused):
    """Gaussians over the pixel: the scene can't hold the sharp ones, whatever noise is on top."""
    u = np.abs(np.arange(117) - 58) / 9
    edge = np.sqrt(2) * sigma
    line = 0.5 * (erf((u + 0.5) / edge) - erf((u - 0.5) / edge))
    grid = with_noise(6e-3, np.tile(line * line[:, None], (5, 5, 1, 1)))
    if not refused:
        assert PrfResponse(grid).discarded > 1e-2
        return
    with pytest.raises(
        ResponseError, match=r"of all places have beyond 1\.5 .* at most 0\.01 can be"
    ):
        PrfResponse(grid)


def _unit(samples):
    """Scale responses so that their 13 x 13 pixels sum to one, at any place of a star."""
    return 81 * samples / samples.sum(axis=(2, 3), keepdims=True)


def test_wings_that_files_cut_off_end_smoothly():
    """Real files have some 1e-3 of the peak on their borders; as much is added as taken away."""
    grid = prf_grid()
    peak = grid.samples.max(axis=(2, 3), keepdims=True)
    winged_samples = grid.samples + 1e-3 * peak
    winged = PrfResponse(replace(grid, samples=_unit(winged_samples)))
    assert winged.cut == 1.25
    assert winged.discarded < 2e-5
    image = image_at(winged, 812.0, 768.0)
    # 5 % of the light is in those wings; the rest is what it was but for 1e-4 of itself.
    unchanged = of_each_star(replace(prf_grid(), samples=_unit(winged_samples)), 812.0, 768.0)
    core = np.s_[20:61, 20:61]
    difference = (image - unchanged)[core][unchanged[core] > 0]
    assert np.abs(difference).max() < 1e-4 * image.max()
    assert winged.reach_px <= REACH_PX
    assert abs(image[:, :4]).max() < 1e-4 * image.max()


def test_the_configuration_names_the_response(tmp_path):
    frame, place = ccd_frame(SCIENCE), Place.at(tmp_path) / "kept.npz"
    assert isinstance(response_for(frame, Settings(), place), GaussianResponse)
    settings = Settings(psf="prf")
    with pytest.raises(StorageError, match=r"can't read .*kept\.npz"):
        response_for(frame, settings, place)
    place.write(prf_grid().pack())
    found = response_for(frame, settings, place, prf_grid().digest)
    assert found.record(6, 12).set == "tess2019107181902-prf-3-3"
    with pytest.raises(ResponseError, match=r"another run has replaced them; run `syndiff process"):
        response_for(frame, settings, place, "0" * 16)
