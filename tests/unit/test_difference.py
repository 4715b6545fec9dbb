import math

import numpy as np
import pytest

from syndiff.differences.scaled import DifferenceConfig, subtract_template
from syndiff.errors import ConfigError, RenderingError

NY, NX = 60, 80


def make(*, scale=0.02, noise=0.3, seed=1):
    """An image of a template with stars, on a sloping sky, and its uncertainty."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:NY, :NX]
    template = np.zeros((NY, NX))
    for _ in range(60):
        x0, y0, flux = rng.uniform(0, NX), rng.uniform(0, NY), 10 ** rng.uniform(2, 4)
        template += flux * np.exp(-0.5 * ((x - x0) ** 2 + (y - y0) ** 2) / 0.6**2)
    sky = 100 + 0.1 * x - 0.05 * y + 1e-3 * (x - 40) * (y - 30)
    sigma = noise * np.sqrt(1 + scale * template / 100)
    return template, scale * template + sky + sigma * rng.standard_normal((NY, NX)), sigma, sky


def test_finds_scale_and_background():
    template, image, sigma, sky = make()
    found = subtract_template(image, sigma, template)
    assert abs(found.scale - 0.02) < 4 * found.scale_error
    # Known by hand: noise over the norm of the template, its noise grows with it.
    assert found.scale_error == pytest.approx(1 / np.linalg.norm(template / sigma), rel=0.1)
    # 6 coefficients from 4,800 pixels of noise 0.3: 0.3 * sqrt(6 / 4800) = 0.01 rms, more at edges.
    assert np.abs(found.background - sky).max() < 0.08
    np.testing.assert_allclose(
        found.image, image - found.scale * template - found.background, atol=1e-9
    )
    assert found.scatter == pytest.approx(1, abs=0.05)  # 1 / sqrt(2 * 4800) twice over, by MAD


def test_zero_point_is_the_magnitude_of_one_unit():
    template, image, sigma, _ = make()
    found = subtract_template(image, sigma, template)
    # Flux 1 / scale in the template, zero point 25, is 1 in the image.
    assert found.zero_point == pytest.approx(25 - 2.5 * math.log10(1 / found.scale))
    assert found.zero_point_error == pytest.approx(1.0857 * found.scale_error / found.scale, 1e-4)


def test_errors_are_right():
    pulls = []
    for seed in range(40):
        template, image, sigma, _ = make(seed=seed)
        found = subtract_template(image, sigma, template)
        pulls.append((found.scale - 0.02) / found.scale_error)
    # The standard deviation of 40 normal numbers is known to 11 %.
    assert 0.6 < np.std(pulls) < 1.4


def test_outliers_and_flagged_pixels_do_not_count():
    template, image, sigma, _ = make()
    want = subtract_template(image, sigma, template)
    spoilt = image.copy()
    spoilt[10:14, 20:24] += 500.0
    spoilt[:, :5] = np.nan
    excluded = np.zeros(image.shape, bool)
    excluded[40:50] = True
    spoilt[40:50] += 50.0
    found = subtract_template(spoilt, sigma, template, excluded=excluded)
    assert not found.used[10:14, 20:24].any()
    assert not found.used[40:50].any()
    assert not found.used[:, :5].any()
    assert np.isnan(found.image[:, :5]).all()
    # A transient and excluded pixels are in the difference, with their light.
    assert found.image[10:14, 20:24].mean() == pytest.approx(500, abs=1)
    assert found.image[40:50, 5:].mean() == pytest.approx(50, abs=1)
    assert abs(found.scale - want.scale) < 5 * want.scale_error


def test_nan_in_the_template_is_nan_in_the_difference():
    template, image, sigma, _ = make()
    template[3, 4] = np.nan
    found = subtract_template(image, sigma, template)
    assert np.isnan(found.image[3, 4])
    assert np.isfinite(found.image).sum() == image.size - 1


def test_without_noise_everything_is_exact():
    template, _, sigma, sky = make()
    found = subtract_template(0.02 * template + sky, sigma, template)
    assert found.scale == pytest.approx(0.02, rel=1e-9)
    np.testing.assert_allclose(found.image, 0, atol=1e-7)


def test_weights_need_only_be_in_proportion():
    template, image, sigma, _ = make()
    one = subtract_template(image, sigma, template)
    ten = subtract_template(image, 10 * sigma, template)
    assert ten.scale == pytest.approx(one.scale, rel=1e-9)
    assert ten.scale_error == pytest.approx(one.scale_error, rel=1e-9)
    assert ten.scatter == pytest.approx(one.scatter / 10, rel=1e-9)


def test_inputs_stay_as_they_are():
    planes = make()[:3]
    before = [plane.copy() for plane in planes]
    template, image, sigma = planes
    subtract_template(image, sigma, template)
    for plane, copy in zip(planes, before, strict=True):
        np.testing.assert_array_equal(plane, copy)


def test_shapes_must_agree():
    template, image, sigma, _ = make()
    with pytest.raises(ConfigError, match=r"template has the shape \(59, 80\), the image \(60, 80"):
        subtract_template(image, sigma, template[1:])


def test_too_few_pixels():
    template, image, sigma, _ = make()
    with pytest.raises(RenderingError, match="13 pixels are known and unflagged, too few to tell"):
        subtract_template(image[:1, :13], sigma[:1, :13], template[:1, :13])


def small(slope, seed=1):
    """16 x 16 px of a level or sloping sky, a corner of it flagged; sigma 0.3."""
    template, image, sigma, sky = make(seed=seed)
    part = np.s_[20:36, 30:46]
    y, x = np.mgrid[:16, :16]
    tilted = 100 + slope * (x - y)
    excluded = (x + y) < 10
    return template[part], (image - sky)[part] + tilted, sigma[part], tilted, excluded


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("slope", "order", "limit"), [(0.0, 0, 0.3), (0.6, 1, 0.6)])
def test_a_small_window_does_not_bend_the_background(slope, order, limit, seed):
    template, image, sigma, sky, excluded = small(slope, seed)
    found = subtract_template(image, sigma, template, excluded=excluded)
    assert found.background_order == order
    # In the flagged corner too, where a parabola was off by up to 1.5.
    assert np.abs(found.background - sky).max() < limit


def test_a_transient_in_a_small_window_is_no_background():
    template, image, sigma, sky, excluded = small(0.0)
    image[9:13, 9:13] += 5.0
    found = subtract_template(image, sigma, template, excluded=excluded)
    assert found.background_order == 0
    assert np.abs(found.background - sky).max() < 0.3


def test_an_empty_template():
    _, image, sigma, _ = make()
    with pytest.raises(RenderingError, match="the template is empty"):
        subtract_template(image, sigma, np.zeros_like(image))


def test_a_template_like_the_background():
    _, image, sigma, sky = make()
    with pytest.raises(RenderingError, match="can't be told from the background"):
        subtract_template(image, sigma, sky)


def test_a_template_of_another_field():
    template, image, sigma, _ = make()
    with pytest.raises(RenderingError, match="scale comes out as -"):
        subtract_template(-image, sigma, template)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"background_order": 11}, "background_order 11: give 0 to 10"),
        ({"clip_sigma": 1.0}, "clip_sigma 1.0 must be 2 or more"),
        ({"rounds": 0}, "rounds 0 must be 1 or more"),
    ],
)
def test_bad_configuration(values, message):
    with pytest.raises(ConfigError, match=message):
        DifferenceConfig(**values)
