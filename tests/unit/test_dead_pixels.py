"""Pixels without light: which are found, and that noise, steps and full wells are none of them."""

import numpy as np
import pytest

from syndiff.errors import ObservationError
from syndiff.ffi.dead_pixels import DeadPixel, check_alive, count_dead, describe_dead, find_dead

SHAPE = (300, 400)


def sky(seed=1, sigma=0.3, level=100.0):
    """Noise on a level sky, as FFIs have it."""
    rng = np.random.default_rng(seed)
    return (level + sigma * rng.standard_normal(SHAPE)).astype(np.float32)


def quantised(image, step):
    """What fpack without dither, or whole numbers, leave of an image."""
    return (np.rint(image / step) * step).astype(np.float32)


@pytest.mark.parametrize(
    ("where", "value", "reason"),
    [
        (np.s_[:, 100], 137.5, DeadPixel.CONSTANT),
        (np.s_[:, 100:104], 137.5, DeadPixel.CONSTANT),
        (np.s_[77], 99.0, DeadPixel.CONSTANT),
        (np.s_[20:23, 30], 100.0, DeadPixel.CONSTANT),
        (np.s_[20:22, 30:32], -5.0, DeadPixel.CONSTANT),
        (np.s_[:, :100], 12.0, DeadPixel.CONSTANT),
        (np.s_[5, 6], 0.0, DeadPixel.ZERO),
        (np.s_[:, 200:], 0.0, DeadPixel.ZERO),
        (np.s_[9], np.nan, DeadPixel.UNKNOWN),
        (np.s_[9, 3:50], np.inf, DeadPixel.UNKNOWN),
        (np.s_[9, 3], -np.inf, DeadPixel.UNKNOWN),
        (np.s_[9, 3], 1e30, DeadPixel.ABSURD),
        (np.s_[9, 3], 1.1e6, DeadPixel.ABSURD),
        (np.s_[9, 3], -1e6, DeadPixel.ABSURD),
        (np.s_[9, 3], -2e3, DeadPixel.ABSURD),
    ],
)
def test_what_holds_no_light_is_found_and_nothing_else(where, value, reason):
    image = sky()
    image[where] = value
    wanted = np.zeros(SHAPE, np.uint8)
    wanted[where] = reason
    np.testing.assert_array_equal(find_dead(image), wanted)


@pytest.mark.parametrize("level", [100.0, 1e4, -30.0, 0.0])
def test_noise_is_alive(level):
    assert not find_dead(sky(level=level, sigma=0.3 if level < 1e3 else 8.0)).any()


@pytest.mark.parametrize("steps_in_sigma", [16, 8, 4, 2, 1, 0.5, 0.3])
@pytest.mark.parametrize("level", [100.0, 0.0])
def test_steps_repeat_values_and_are_alive(steps_in_sigma, level):
    image = sky(level=level)
    assert not find_dead(quantised(image, 0.3 / steps_in_sigma)).any()


@pytest.mark.parametrize("steps_in_sigma", [16, 8, 4])
def test_blocks_among_steps_are_found(steps_in_sigma):
    image = quantised(sky(), 0.3 / steps_in_sigma)
    image[:, 100:104], image[40:60, 300:330], image[7, 7] = 137.5, 0.0, 0.0
    found = find_dead(image)
    assert (found[:, 100:104] == DeadPixel.CONSTANT).all()
    assert (found[40:60, 300:330] == DeadPixel.ZERO).all()
    assert found[7, 7] == DeadPixel.ZERO
    assert np.count_nonzero(found) == 4 * SHAPE[0] + 601


def test_saturated_plateaus_and_stars_are_alive():
    image = sky()
    image[50:60, 70:73] = 1.0e5
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    image += (5e4 * np.exp(-0.5 * ((x - 200) ** 2 + (y - 100) ** 2) / 0.8**2)).astype(np.float32)
    assert not find_dead(image).any()


@pytest.mark.parametrize("value", [0.0, -1.0, np.nan, np.inf])
def test_without_an_uncertainty_nothing_is_told(value):
    image, sigma = sky(), np.ones(SHAPE, np.float32)
    sigma[30:40], image[35] = value, 0
    found = find_dead(image, sigma)
    assert (found[30:35] == DeadPixel.NO_UNCERTAINTY).all()
    assert (found[35] == DeadPixel.ZERO).all()
    assert np.count_nonzero(found) == 10 * SHAPE[1]


def test_inputs_stay_as_they_are():
    image = sky()
    image[:, 5] = 3
    before = image.copy()
    find_dead(image)
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0.0, "all 120,000 science pixels are exactly zero"),
        (np.nan, "all 120,000 science pixels are NaN or infinite"),
        (137.5, "all 120,000 science pixels are stuck at one value"),
        (1e30, "all 120,000 science pixels are beyond what a pixel can hold"),
    ],
)
def test_a_frame_without_light_is_called_what_it_is(value, words):
    codes = find_dead(np.full(SHAPE, value, np.float32))
    with pytest.raises(ObservationError, match=f"^x.fits: {words}: give another FFI$"):
        check_alive(codes, "x.fits", "science pixels", "give another FFI")


def test_a_frame_of_several_kinds_is_told_with_their_counts():
    image = np.zeros(SHAPE, np.float32)
    image[:100] = np.nan
    codes = find_dead(image)
    assert count_dead(codes) == {DeadPixel.ZERO: 80_000, DeadPixel.UNKNOWN: 40_000}
    message = r"none of its pixels holds light, 120,000 of 120,000 pixels are dead \(80,000 exactly"
    with pytest.raises(ObservationError, match=message):
        check_alive(codes, "x.fits", "pixels", "give another FFI")


def test_nothing_dead_needs_no_words():
    codes = find_dead(sky())
    assert describe_dead(codes) == ""
    check_alive(codes, "x.fits", "pixels", "")
