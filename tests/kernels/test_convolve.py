"""A kernel that varies over the field against sums over taps."""

import numpy as np

from syndiff.kernels.convolve import convolve_varying


def reference_convolve(phases, taps, coefficients, down, across, shape):
    """Pixel by pixel."""
    out = np.zeros(shape)
    for y in range(shape[0]):
        for x in range(shape[1]):
            for (j, i, row, column), weights in zip(taps, coefficients, strict=True):
                weight = down[:, y] @ weights @ across[:, x]
                out[y, x] += weight * phases[j, i, row + y, column + x]
    return out


def make(rng):
    phases = rng.normal(size=(2, 2, 9, 11)).astype(np.float32)
    taps = np.array([[0, 0, 0, 0], [1, 0, 3, 4], [0, 1, 1, 2], [1, 1, 2, 0]])
    coefficients = rng.normal(size=(4, 3, 2))
    return phases, taps, coefficients, rng.normal(size=(3, 6)), rng.normal(size=(2, 7))


def test_kernel_and_twin_agree():
    arguments = make(np.random.default_rng(1))
    out = np.full((6, 7), 99.0)
    convolve_varying(*arguments, out)
    # Sums of a few numbers of order one in float64.
    np.testing.assert_allclose(out, reference_convolve(*arguments, out.shape), atol=1e-12)


def test_unknown_samples_spoil_the_pixels_that_reach_them():
    phases, *others = make(np.random.default_rng(2))
    phases[1, 0, 5, 7] = np.nan
    out = np.empty((6, 7))
    convolve_varying(phases, *others, out)
    assert np.argwhere(np.isnan(out)).tolist() == [[2, 3]]
