"""Measured pixel responses as data: what is refused, and what survives being kept."""

import re
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import erf

from syndiff.errors import ResponseError
from syndiff.scenes.prf_grid import SIDE, PrfGrid, check_samples

X, Y = np.array([44.0, 556.0, 1068.0]), np.array([0.0, 512.0])


@pytest.fixture(scope="module")
def grid():
    u = (np.arange(SIDE) - SIDE // 2) / 9
    width = np.linspace(0.6, 1.1, 6)[:, None] * np.sqrt(2)
    line = 0.5 * (erf((u + 0.5) / width) - erf((u - 0.5) / width))
    stars = line[:, :, None] * line[:, None]
    return PrfGrid(X, Y, stars.reshape(2, 3, SIDE, SIDE), "tess1-prf-3-3", "/prf/cam3_ccd3")


def test_kept_and_read_again(grid):
    again = PrfGrid.unpack(grid.pack(), "place")
    for name in ("x", "y", "samples"):
        np.testing.assert_array_equal(getattr(again, name), getattr(grid, name))
    assert (again.name, again.source, again.digest) == (grid.name, grid.source, grid.digest)


def test_the_digest_is_of_the_responses_and_not_of_where_they_were(grid):
    assert replace(grid, source="elsewhere").digest == grid.digest
    assert re.fullmatch("[0-9a-f]{16}", grid.digest)
    changed = grid.samples.copy()
    changed[1, 2, 3, 4] *= 1 + 1e-12
    assert replace(grid, samples=changed).digest != grid.digest
    assert replace(grid, x=X + 1).digest != grid.digest


@pytest.mark.parametrize("content", [b"", b"no archive", "cut"])
def test_damaged_content_is_told(grid, content):
    content = grid.pack()[:-300] if content == "cut" else content
    with pytest.raises(ResponseError, match=r"here\.npz is damaged .* run `syndiff process` again"):
        PrfGrid.unpack(content, "here.npz")


def test_arrays_that_do_not_fit_are_refused(grid):
    with pytest.raises(ResponseError, match=r"have the shape \(2, 3, .*\(2, 2, 117, 117\) belongs"):
        replace(grid, x=X[:2])
    with pytest.raises(ResponseError, match="not in ascending order"):
        replace(grid, x=X[::-1])


def test_samples_that_are_no_response_are_refused(grid):
    samples = grid.samples[0, 0]
    with pytest.raises(ResponseError, match=r"f: the image is 117 x 100, a .* is 117 x 117"):
        check_samples(samples[:, :100], "f")
    spoilt = samples.copy()
    spoilt[3, :2] = np.nan, np.inf
    with pytest.raises(ResponseError, match="f: 2 of 13689 samples are not finite"):
        check_samples(spoilt, "f")
    with pytest.raises(ResponseError, match=r"f: the samples sum to -\d.* get the file again"):
        check_samples(-samples, "f")
    with pytest.raises(ResponseError, match=r"the samples sum to .*, -\d.* of it negative"):
        check_samples(samples - 0.1, "f")
    check_samples(samples - 1e-5, "f")
    bad = grid.samples.copy()
    bad[1, 1, 0, 0] = np.nan
    with pytest.raises(ResponseError, match=r"/prf/cam3_ccd3 at pixel \(556\.0, 512\.0\)"):
        replace(grid, samples=bad)


def _moved(samples, down, right):
    return np.roll(samples, (down, right), axis=(0, 1))


def _rough(shape, amount):
    return 1 + amount * np.random.default_rng(5).standard_normal(shape)


NO_RESPONSES = {
    "flat": (lambda s: np.full_like(s, 1 / 169), r"0\.17 of the light is within 3 px"),
    "garbage": (lambda s: _rough(s.shape, 0.3) ** 2 / 185, r"sum to 0\.\d+ to 1\.\d+"),
    "ring": (
        lambda s: np.where(np.hypot(*(np.indices(s.shape) - 58)) > 40, 1 / 100, 0),
        "0.00 of the light",
    ),
    "nothing": (lambda s: 0 * s, "sum to 0"),
    "huge": (lambda s: 1e307 * np.where(s > s.max() / 2, 9, 1), "sum to"),
    "spike": (lambda s: s + 0.3 * s.max() * (s == s[58, 63]), r"sum to 0\.99\d to 1\.\d"),
    "one sample": (lambda s: 81.0 * (s == s.max()), "sum to 0 to 81"),
    "not integrated over the pixel": (
        lambda s: np.exp(-((np.indices(s.shape) - 58) ** 2).sum(0) / 2 / 2.7**2) * 1.77,
        "sum to",
    ),
    "far away": (lambda s: _moved(s, 36, 0), r"0\.\d+ of the light is within 3 px"),
    "beside": (lambda s: _moved(s, 0, 9), r"centred 1\.00, 0\.00 px \(column, row\) from the star"),
    "a third of a pixel beside": (lambda s: _moved(s, -3, 0), r"centred 0\.00, -0\.33 px"),
    "upside down": (lambda s: 2 / 169 - s, "sum to"),
}


@pytest.mark.parametrize("kind", NO_RESPONSES)
def test_images_of_other_things_are_refused(grid, kind):
    spoil, message = NO_RESPONSES[kind]
    with pytest.raises(ResponseError, match=f"^f: .*{message}"):
        check_samples(spoil(grid.samples[0, 0]), "f")


def test_a_response_as_rough_and_as_far_off_centre_as_masts_is_one(grid):
    samples = grid.samples[1, 1]
    check_samples(_moved(samples * _rough(samples.shape, 0.01), 1, -1), "f")


@pytest.mark.parametrize("unit", [1e-300, 1 / 81, 5e4, 1e300])
def test_any_unit_will_do(grid, unit):
    check_samples(unit * grid.samples[1, 1], "f")
