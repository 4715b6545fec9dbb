import numpy as np
import pytest

from syndiff.differences.clipped_fit import Clipping, Prior, fit_clipped
from syndiff.errors import RenderingError


class Held:
    """A design that is held as a whole."""

    def __init__(self, matrix):
        self.matrix = matrix
        self.pixels, self.columns = matrix.shape

    def rows(self, pixels):
        return self.matrix[pixels].copy()

    def model(self, pixels, values):
        return self.matrix[pixels] @ values


def make(rng, n=400):
    matrix = rng.normal(size=(n, 3))
    sigma = rng.uniform(0.5, 2, n)
    return matrix, matrix @ [1.0, -2.0, 0.5] + sigma * rng.normal(size=n), sigma


def test_agrees_with_least_squares():
    matrix, target, sigma = make(np.random.default_rng(1))
    found = fit_clipped(Held(matrix), target, sigma, clipping=Clipping(50.0, 3))
    want = np.linalg.lstsq(matrix / sigma[:, None], target / sigma, rcond=None)[0]
    np.testing.assert_allclose(found.values, want, rtol=1e-10)
    assert found.used.all()
    assert found.scatter == pytest.approx(1, abs=0.15)  # MAD of 400 numbers: 6 %


def test_outliers_are_summed_out_again():
    matrix, target, sigma = make(np.random.default_rng(2))
    target[::40] += 1e6
    found = fit_clipped(Held(matrix), target, sigma, clipping=Clipping(5.0, 10))
    kept = found.used
    assert not kept[::40].any()
    want = np.linalg.lstsq(matrix[kept] / sigma[kept, None], (target / sigma)[kept], rcond=None)[0]
    # Rows were added and taken out: rounding of 1e6.
    np.testing.assert_allclose(found.values, want, rtol=1e-6)


def test_pixels_within_their_errors_stay():
    matrix, _, sigma = make(np.random.default_rng(3))
    target = matrix @ [1.0, -2.0, 0.5]
    target[0] += 3.5 * sigma[0]
    clipping = Clipping(4.0, 5, least_scatter=1.0)
    assert fit_clipped(Held(matrix), target, sigma, clipping=clipping).used.all()


def test_a_prior_holds_what_the_pixels_do_not_tell():
    rng = np.random.default_rng(4)
    matrix, target, sigma = make(rng)
    matrix[:, 2] = 0
    prior = Prior(np.array([0.0, 0.0, 7.0]), np.array([0.0, 0.0, 4.0]))
    found = fit_clipped(Held(matrix), target, sigma, clipping=Clipping(50.0, 3), prior=prior)
    assert found.values[2] == pytest.approx(7)
    pulls = (target - matrix @ found.values) / sigma
    # The rms of the pixels is above their scatter here.
    assert found.scatter**2 < np.square(pulls).sum() / (len(pulls) - 3)
    assert found.covariance[2, 2] == pytest.approx(np.square(pulls).sum() / (len(pulls) - 3) / 4)


def test_too_few_pixels():
    matrix, target, sigma = make(np.random.default_rng(5), n=5)
    with pytest.raises(RenderingError, match="5 pixels are known and unflagged, too few to fit 3"):
        fit_clipped(Held(matrix), target, sigma, clipping=Clipping(5.0, 3))
