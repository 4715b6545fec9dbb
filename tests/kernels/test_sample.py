"""Samples of a scene against sums over taps."""

import numpy as np
import pytest

from syndiff.kernels.sample import sample_boxes, sample_constant


def reference_sample(scene, row, column, step, taps_y, taps_x, shape):
    """Every tap of every output pixel, in float64."""
    out = np.zeros(shape)
    for y, x in np.ndindex(shape):
        for j, wy in enumerate(taps_y):
            for i, wx in enumerate(taps_x):
                value = scene[row + step * y + j, column + step * x + i]
                out[y, x] += float(wy) * float(wx) * float(value)
    return out


@pytest.mark.parametrize(("taps", "step"), [(12, 4), (4, 2), (8, 1), (4, 5), (8, 3)])
@pytest.mark.parametrize("shape", [(4, 5), (1, 1), (1, 7)])
def test_constant_agrees_with_a_sum_over_taps(taps, step, shape):
    """The scene ends where the last tap of the last pixel does."""
    rng = np.random.default_rng(taps)
    row, column = 2, 3
    size = row + step * (shape[0] - 1) + taps, column + step * (shape[1] - 1) + taps
    scene = rng.normal(size=size).astype(np.float32)
    taps_y, taps_x = rng.normal(size=(2, taps)).astype(np.float32)
    out = np.full(shape, 7, np.float32)
    sample_constant(scene, row, column, step, taps_y, taps_x, out)
    wanted = reference_sample(scene, row, column, step, taps_y, taps_x, shape)
    # float32 sums of at most 144 products of order 1
    np.testing.assert_allclose(out, wanted, rtol=0, atol=2e-5)


@pytest.mark.parametrize(("size", "step"), [(5, 2), (1, 1), (3, 4)])
def test_boxes_agree_with_or_over_slices(size, step):
    rng = np.random.default_rng(size)
    shape, row, column = (3, 4), 1, 2
    height, width = row + step * 2 + size, column + step * 3 + size
    flags = rng.choice(np.array([0, 0, 0, 1, 4, 32], np.uint8), (height, width))
    out = np.full(shape, 255, np.uint8)
    sample_boxes(flags, row, column, step, size, out)
    for y, x in np.ndindex(shape):
        j, i = row + step * y, column + step * x
        assert out[y, x] == np.bitwise_or.reduce(flags[j : j + size, i : i + size], axis=None)
