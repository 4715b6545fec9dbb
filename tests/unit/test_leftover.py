"""How much of stars is left, from stars whose images are known in closed form."""

from functools import partial

import numpy as np
import pytest
from finestars import SCALE, crowd, draw, ffi

from syndiff.differences.leftover import measure_leftover
from syndiff.differences.scaled import (
    MOST_LEFT,
    MOST_SCATTER,
    DifferenceConfig,
    subtract_template,
)

SHAPE = (48, 48)


def gaussian(sigma, *_):
    return [(1.0, 0.0, 0.0, sigma)]


def tess(*_):
    """Wings and a core, FWHM 1.7 px with the pixel."""
    return [(0.85, 0.0, 0.0, 0.62), (0.15, 0.0, 0.0, 1.3)]


def left_by(template, seed=1, *, per_star=0.0):
    """The difference without a kernel and what it leaves."""
    rng = np.random.default_rng(seed)
    stars = crowd(rng, SHAPE)
    real = stars.copy()
    real[:, 2] *= 1 + per_star * rng.standard_normal(len(stars))
    image, sigma = ffi(real, SHAPE, tess, rng=rng)
    y, x = (np.arange(float(n)) for n in SHAPE)
    found = subtract_template(
        image, sigma, draw(stars, y, x, template), config=DifferenceConfig(least_scatter=1)
    )
    good = np.ones(SHAPE, bool)
    return found, measure_leftover(found.image, found.model, sigma, good)


@pytest.mark.parametrize(
    ("template", "low", "high"),
    [
        (tess, 0.0, 0.005),
        # What a sigma of 40 PS1 pixels is, on pixels of 21".
        (partial(gaussian, 0.476), 0.2, 0.3),
        (partial(gaussian, 0.9), 0.4, 0.8),
    ],
)
def test_a_response_that_does_not_fit_is_seen(template, low, high):
    found, left = left_by(template)
    assert low <= left.part <= high
    assert left.stars > 10
    assert (found.scatter > MOST_SCATTER) == (low > MOST_LEFT)


@pytest.mark.parametrize("sigma_px", [0.42, 0.476, 0.55, 0.714, 0.9])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_what_is_left_covers_what_the_scale_misses(sigma_px, seed):
    found, left = left_by(partial(gaussian, sigma_px), seed, per_star=0.01)
    missed = abs(found.scale / SCALE - 1)
    assert missed < np.hypot(left.part, found.scale_error / SCALE)
    # The error of the fit alone has no idea of it.
    assert missed > 2 * found.scale_error / SCALE


def test_fluxes_that_err_a_little_are_covered_too():
    pulls = []
    for seed in range(24):
        found, left = left_by(tess, seed, per_star=0.01)
        assert left.part < 0.02
        assert 1 <= left.effective <= left.stars
        error = np.hypot(left.misses(0.01), found.scale_error / SCALE)
        pulls.append((found.scale / SCALE - 1) / error)
    # The brightest star tells most of the scale, so a median of what is left can't cover it.
    assert np.abs(pulls).max() < 3
    assert 0.2 < np.std(pulls) < 1.3


def test_variable_stars_do_not_count():
    rng = np.random.default_rng(4)
    stars = crowd(rng, SHAPE)
    image, sigma = ffi(stars, SHAPE, tess, rng=rng)
    y, x = (np.arange(float(n)) for n in SHAPE)
    faded = stars.copy()
    faded[np.argsort(-stars[:, 2])[:4], 2] *= 0.5
    found = subtract_template(image, sigma, draw(faded, y, x, tess))
    left = measure_leftover(found.image, found.model, sigma, np.ones(SHAPE, bool))
    assert left.part < MOST_LEFT


def test_without_stars_nothing_is_told():
    flat = np.ones(SHAPE)
    good = np.ones(SHAPE, bool)
    for known in (good, ~good):
        left = measure_leftover(0 * flat, flat, flat, known)
        assert (left.part, left.stars) == (0.0, 0)


def test_flagged_stars_and_unknown_pixels_do_not_count():
    found, left = left_by(tess)
    image, model = found.image.copy(), found.model.copy()
    image[:, 20:] = np.nan
    good = np.isfinite(image)
    part = measure_leftover(image, model, np.full(SHAPE, 0.2), good)
    assert 0 < part.stars < left.stars
