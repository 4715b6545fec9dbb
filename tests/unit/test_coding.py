"""Sixteen-bit codes of light and variance."""

import numpy as np
import pytest

from syndiff.errors import RenderingError
from syndiff.stacks.coding import (
    NO_VARIANCE,
    asinh_decode,
    asinh_encode,
    variance_decode,
    variance_encode,
)


def spread_values(*shape, seed):
    return np.random.default_rng(seed).normal(0, 1, shape) * np.logspace(-2, 5, shape[-1])


def test_asinh_codes_are_the_formulas():
    x = spread_values(30, 40, seed=1)
    x[:, ::2] = 0
    codes = asinh_encode(x, 0.7)
    assert codes.dtype == np.int16
    wanted = np.rint(3200 * np.arcsinh(x / 140))
    np.testing.assert_array_equal(codes, wanted)


def test_what_rounding_takes_goes_to_the_next_value():
    x = spread_values(5, 60, seed=3)
    x[:, 20] = 0
    codes = asinh_encode(x, 0.7)
    for values, row in zip(x, codes, strict=True):
        rest = 0.0
        for value, code in zip(values, row, strict=True):
            wanted = value + rest if value else 0.0
            assert code == np.rint(3200 * np.arcsinh(wanted / 140))
            rest = wanted - 140 * np.sinh(code / 3200)


def test_light_comes_back_within_the_half_steps_of_two_neighbours():
    x = spread_values(5000, seed=2)
    sigma = 0.5
    # half a step is sigma / 32 below 100 sigma, 1 / 6400 of the value far above; and float32
    half = np.sqrt((200 * sigma) ** 2 + x**2) / 6400 * (1 + 1e-3)
    half[1:] += half[:-1]
    assert np.all(np.abs(asinh_decode(asinh_encode(x, sigma), sigma) - x) <= half)


def test_faint_wings_keep_their_sum():
    x = np.exp(-np.hypot(*np.mgrid[-40:41, -40:41]) / 4)
    x[x < 1e-3] = 0
    sigma = 0.6
    back = asinh_decode(asinh_encode(x, sigma), sigma)
    # at worst, the last cell of each of the 55 rows keeps half a step of sigma / 16
    assert abs(back.sum() - x.sum()) < 55 * sigma / 32
    # rounded one by one, everything below half a step would be lost
    assert x[x < sigma / 32].sum() > 8 * 55 * sigma / 32


def test_coding_is_odd_and_keeps_zero():
    x = np.array([0.0, 0.3, 5.0, 0.0, 1e5])
    np.testing.assert_array_equal(asinh_encode(-x, 1.0), -asinh_encode(x, 1.0))
    assert asinh_decode(np.zeros(3, np.int16), 2.0).tolist() == [0, 0, 0]


def test_float32_planes_and_empty_ones_are_coded():
    assert asinh_encode(np.ones((2, 3), np.float32), 1.0).tolist() == [[16] * 3] * 2
    assert asinh_encode(np.empty((0, 4)), 1.0).shape == (0, 4)


@pytest.mark.parametrize("value", [3e6, -3e6, np.inf, np.nan])
def test_light_out_of_range_is_an_error(value):
    with pytest.raises(RenderingError, match=r"can't be coded .* within 2.8e6 sigma"):
        asinh_encode(np.array([1.0, value, 1.0]), 1.0)


@pytest.mark.parametrize("sigma", [0.0, -1.0, np.nan, np.inf])
def test_sigma_must_be_above_zero(sigma):
    with pytest.raises(RenderingError, match="must be above 0"):
        asinh_encode(np.ones(3), sigma)


def test_variance_comes_back_within_half_a_step():
    v = np.logspace(-12, 12, 999)
    # half a step of log2 / 64
    ratio = variance_decode(variance_encode(v, 3.0), 3.0) / v
    assert np.all(np.abs(np.log2(ratio)) <= 0.5 / 64 + 1e-6)


def test_no_variance_is_told_from_small_variance():
    codes = variance_encode(np.array([0.0, -1.0, 1e-30]), 1.0)
    assert codes.tolist()[:2] == [NO_VARIANCE, NO_VARIANCE]
    assert codes[2] > NO_VARIANCE
    assert variance_decode(codes, 1.0)[:2].tolist() == [0, 0]


def test_every_code_decodes_to_its_formula():
    codes = np.arange(-32768, 32768).astype(np.int16).reshape(256, 256)
    light = asinh_decode(codes, 0.3)
    np.testing.assert_array_equal(light, (60 * np.sinh(codes / 3200)).astype(np.float32))
    # every second column: not contiguous
    variance = variance_decode(codes[110:140, ::2], 2.0)
    wanted = (4 * np.exp2(codes[110:140, ::2] / 64)).astype(np.float32)
    np.testing.assert_array_equal(variance, wanted)
