"""Sampling a scene at an offset: the kernels against SciPy's spline and a loop over slices."""

import numpy as np
import pytest
from scipy import ndimage

from syndiff.kernels.sample import sample_boxes, sample_constant
from syndiff.templates.template import interpolation_taps

SHAPE = 128, 160
STEP = 4


@pytest.fixture(scope="module")
def scene():
    """Samples of a band-limited scene, 4 per pixel."""
    noise = np.random.default_rng(1).normal(size=(STEP * SHAPE[0] + 16, STEP * SHAPE[1] + 16))
    return ndimage.gaussian_filter(noise, 2.5).astype(np.float32)


@pytest.mark.benchmark(group="sample a scene")
def test_kernel(benchmark, scene):
    down, right = interpolation_taps(0.3), interpolation_taps(0.7)
    out = np.empty(SHAPE, np.float32)
    benchmark(sample_constant, scene, 1, 2, STEP, down, right, out)
    # Five taps before the place between two samples.
    expected = _spline(scene, 6.3, 7.7)
    # The spline errs by a few 1e-3 of the noise's scatter here, the taps by 1e-5.
    np.testing.assert_allclose(out, expected, rtol=0, atol=0.01 * expected.std())


@pytest.mark.benchmark(group="sample a scene")
def test_spline(benchmark, scene):
    assert benchmark(_spline, scene, 6.3, 7.7).shape == SHAPE


def _spline(scene, row, column):
    places = np.mgrid[: SHAPE[0], : SHAPE[1]] * STEP + np.reshape([row, column], (2, 1, 1))
    return ndimage.map_coordinates(scene, places, order=3)


@pytest.mark.benchmark(group="combine flags")
def test_boxes(benchmark):
    flags = (np.random.default_rng(2).random((2 * SHAPE[0] + 5, 2 * SHAPE[1] + 5)) < 0.01) * 4
    flags = flags.astype(np.uint8)
    out = np.empty(SHAPE, np.uint8)
    benchmark(sample_boxes, flags, 0, 0, 2, 5, out)
    windows = np.lib.stride_tricks.sliding_window_view(flags, (5, 5))[::2, ::2]
    expected = np.bitwise_or.reduce(windows[: SHAPE[0], : SHAPE[1]], axis=(2, 3))
    np.testing.assert_array_equal(out, expected)
