"""Levels, detection and the noise's correlation on 1-arcsec cells."""

import numpy as np
import pytest
import sep
from scipy.ndimage import convolve, gaussian_filter

from syndiff.errors import RenderingError
from syndiff.settings import Settings
from syndiff.stacks.detection import CellSums, detect_light

SETTINGS = Settings()
SIGMA = 0.5


def cell_sums(flux, variance=None, count=None):
    """Return cells of 16 pixels with noise SIGMA each, unless told otherwise."""
    flux = np.asarray(flux, np.float32)
    if variance is None:
        variance = np.full(flux.shape, SIGMA**2, np.float32)
    if count is None:
        count = np.full(flux.shape, 16, np.uint8)
    return CellSums(flux, variance, count)


def noise(shape=(256, 256), seed=1):
    return np.random.default_rng(seed).normal(0, SIGMA, shape)


def blob(shape, y, x, total, width=0.6):
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    profile = np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (2 * width**2))
    return total * profile / profile.sum()


@pytest.mark.parametrize("method", ["matched", "sep"])
def test_a_star_is_detected_and_the_sky_is_not(method):
    flux = noise() + blob((256, 256), 100.3, 80.8, 40)
    found = detect_light({"r": cell_sums(flux)}, settings=Settings(background=method))
    assert found.detected[98:103, 79:83].all()
    # 0.0027 of the cells are beyond 3 sigma by chance, each grows to 9; SEP wants three connected
    assert found.detected.mean() < (0.035 if method == "matched" else 0.01)


def test_noise_alone_leaves_no_pedestal():
    flux = noise((1024, 1024))
    found = detect_light({"r": cell_sums(flux)}, settings=Settings())
    kept = flux[found.detected == 1]
    # peaks alone would leave a mean of about 1.3 sigma per kept cell; neighbours under the filter
    # share their noise, nine to a peak: one in nine is independent
    assert abs(kept.mean()) < 4 * SIGMA / np.sqrt(kept.size / 9)


@pytest.mark.parametrize("method", ["matched", "sep"])
def test_a_star_keeps_99_percent_of_its_light(method):
    # 22 sigma at the peak of the filter, as magnitude 20.5 in PS1
    settings = Settings(background=method)
    kept = []
    for seed in range(5):
        light = blob((128, 128), 60.2 + 0.2 * seed, 60.7, 27)
        flux = noise((128, 128), seed) + light
        detected = detect_light({"i": cell_sums(flux)}, settings=settings).detected
        kept.append((light * detected).sum() / light.sum())
    assert np.mean(kept) > 0.99


def test_bright_light_grows_by_two_cells_and_faint_by_one():
    faint, bright = noise((128, 128)), noise((128, 128))
    # 5 and 40 sigma under the filter; of the latter, 10 in the corner cells
    faint[64, 64] += 7.5 * SIGMA
    bright[64, 64] += 60 * SIGMA
    faint, bright = (
        detect_light({"r": cell_sums(flux)}, settings=SETTINGS).detected for flux in (faint, bright)
    )
    assert faint[63:66, 63:66].all()
    assert faint[62:67, 62:67].sum() < 20
    assert bright[61:68, 61:68].all()
    assert bright[60:69, 60:69].sum() < 60


def test_level_is_found_beneath_stars_and_beside_gaps():
    shape = (300, 310)
    y, x = np.mgrid[: shape[0], : shape[1]] / 300
    level = 0.2 + 0.05 * x - 0.1 * y
    flux = 16 * level + noise(shape)
    rng = np.random.default_rng(2)
    for _ in range(150):
        flux += blob(shape, *rng.uniform(0, 300, 2), 100)
    count = np.full(shape, 16, np.uint8)
    count[:, 100:104] = 0
    flux[:, 100:104] = 0
    cells = cell_sums(flux, np.where(count > 0, SIGMA**2, 0).astype(np.float32), count)
    found = detect_light({"r": cells}, settings=SETTINGS)
    centres = np.minimum(np.arange(5) * 64 + 32, 299)
    wanted = level[np.ix_(centres, centres)]
    # a mesh of 1024 samples knows its median to 1.25 * 0.5 / 32 / 16 = 0.0012; edges of the 3x3
    # median and the slope across half a mesh cell (0.01) weigh more
    np.testing.assert_allclose(found.levels[0], wanted, atol=0.02)


def test_a_gap_in_one_band_is_not_mistaken_for_light():
    shape = (128, 128)
    red, blue = 16 * 5.0 + noise(shape, 1), 16 * 0.1 + noise(shape, 2)
    count = np.full(shape, 16, np.uint8)
    count[40:60, 40:60] = 0
    variance = np.where(count > 0, SIGMA**2, 0).astype(np.float32)
    red = cell_sums(red * (count > 0), variance, count)
    found = detect_light({"r": red, "i": cell_sums(blue)}, settings=SETTINGS)
    assert found.detected.mean() < 0.03


def test_cells_without_data_hold_no_light():
    count = np.full((128, 128), 16, np.uint8)
    count[50:55] = 0
    flux = (noise((128, 128)) + blob((128, 128), 56, 56, 1e4)) * (count > 0)
    cells = cell_sums(flux, np.where(count > 0, SIGMA**2, 0).astype(np.float32), count)
    found = detect_light({"r": cells}, settings=SETTINGS)
    assert found.detected[55:58, 56].all()
    assert not found.detected[50:55].any()


@pytest.mark.parametrize("shape", [(1, 1), (3, 2), (70, 5)])
@pytest.mark.parametrize("method", ["matched", "sep"])
def test_nothing_valid_means_nothing_detected(shape, method):
    nothing = np.zeros(shape)
    cells = cell_sums(nothing, nothing.astype(np.float32), nothing.astype(np.uint8))
    found = detect_light({"y": cells}, settings=Settings(background=method))
    assert not found.detected.any()
    assert found.noise_correlation == 1
    assert found.levels[0].tolist() == np.zeros_like(found.levels[0]).tolist()


def test_mesh_cells_without_samples_take_the_nearest_level():
    count = np.full((256, 256), 16, np.uint8)
    count[:64, :128] = 3
    flux = (16 * 0.25 + noise()) * (count / 16)
    found = detect_light({"r": cell_sums(flux, None, count)}, settings=SETTINGS)
    # three times the error of a mesh cell's median, 1.25 * 0.5 / sqrt(1024) / 16
    np.testing.assert_allclose(found.levels[0], 0.25, atol=0.004)


@pytest.mark.parametrize("method", ["matched", "sep"])
def test_all_that_is_not_level_is_light_where_there_is_no_noise(method):
    light = blob((128, 128), 60, 60, 1e3, width=3)
    light[light < 1e-6] = 0
    found = detect_light({"r": cell_sums(16 * 0.5 + light)}, settings=Settings(background=method))
    assert (light * found.detected).sum() == light.sum()
    assert found.noise_correlation == 1
    assert found.levels[0] == pytest.approx(0.5)


KERNELS = {
    "white": np.ones((1, 1)),
    "bilinear": np.array([[0.85, 0.26], [0.26, 0.15]]),
    "wide": np.outer([0.02, 0.25, 0.9, 0.25, 0.02], [0.02, 0.25, 0.9, 0.25, 0.02]),
}


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS.keys())
def test_noise_correlation_is_that_of_large_sums(kernel):
    pixels = convolve(np.random.default_rng(3).normal(size=(1024, 1024)), kernel, mode="wrap")
    pixels /= np.sqrt((kernel**2).sum())
    flux = pixels.reshape(256, 4, 256, 4).sum(axis=(1, 3))
    sums = cell_sums(flux, np.full(flux.shape, 16, np.float32))
    found = detect_light({"r": sums}, settings=SETTINGS)
    wanted = kernel.sum() / np.sqrt((kernel**2).sum())
    # 8000 blocks know their scatter to 1.3 %, which the step to large sums doubles
    assert found.noise_correlation == pytest.approx(wanted, rel=0.04)


def test_a_crowded_field_is_calibrated_in_several_turns():
    rng = np.random.default_rng(4)
    stars = np.zeros((256, 256))
    np.add.at(stars, tuple(rng.integers(0, 256, (2, 2500))), 10 ** rng.uniform(0.5, 2.5, 2500))
    flux = noise() + gaussian_filter(stars, 0.6)
    found = detect_light({"r": cell_sums(flux)}, settings=SETTINGS)
    assert 0.3 < found.detected.mean() < 0.95
    # stars below the threshold count as noise
    assert 0.95 < found.noise_correlation < 1.6


def test_without_dark_cells_the_filters_own_scatter_stands_in(monkeypatch):
    monkeypatch.setattr("syndiff.stacks.detection.DETECTION_SIGMA", 1e-3)
    found = detect_light({"r": cell_sums(noise())}, settings=SETTINGS)
    assert found.detected.mean() > 0.99
    # white noise; 7000 samples
    assert found.noise_correlation == pytest.approx(1, rel=0.05)


def test_sep_overflow_is_an_error(monkeypatch):
    before = sep.get_extract_pixstack()
    sep.set_extract_pixstack(60)
    monkeypatch.setattr(sep, "set_extract_pixstack", lambda size: None)
    flux = noise() + blob((256, 256), 100, 100, 1e5, width=8)
    with pytest.raises(RenderingError, match=r"skycell.0001.002: SEP could not .*internal pixel"):
        detect_light(
            {"r": cell_sums(flux)}, settings=Settings(background="sep"), name="skycell.0001.002"
        )
    monkeypatch.undo()
    sep.set_extract_pixstack(before)
