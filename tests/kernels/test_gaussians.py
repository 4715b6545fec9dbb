"""The simulator's loops against slow, obvious twins."""

import numpy as np
import pytest
from scipy.special import erf
from scipy.stats import multivariate_normal

from syndiff.kernels.gaussians import (
    add_elliptical,
    add_integrated,
    add_round,
    integrate_sources,
    warp_bilinear,
)


def slow_round(shape, stars):
    """Return the exact integral of round Gaussians over every pixel."""
    image = np.zeros(shape)
    for x, y, flux, sigma in stars:
        along = [
            np.diff(erf((np.arange(n + 1) - 0.5 - centre) / (np.sqrt(2) * sigma))) / 2
            for n, centre in zip(shape, (y, x), strict=True)
        ]
        image += flux * np.outer(*along)
    return image


@pytest.fixture
def stars():
    rng = np.random.default_rng(3)
    inside = np.column_stack(
        [rng.uniform(-4, 64, 12), rng.uniform(-4, 44, 12), rng.uniform(1, 1e4, 12)]
    )
    return np.column_stack([inside, rng.uniform(1.0, 6.0, 12)])


def test_round_gaussians_match_the_exact_integral(stars):
    image = np.zeros((40, 60))
    add_round(image, stars, 1e-9, np.empty((2, 62)))
    # What lies under the floor is left out: twelve times 1e-9 at most.
    np.testing.assert_allclose(image, slow_round(image.shape, stars), rtol=1e-12, atol=1.2e-8)


def test_round_gaussian_under_the_floor_is_not_drawn(stars):
    image = np.zeros((40, 60))
    add_round(image, stars, 1e9, np.empty((2, 62)))
    assert not image.any()


@pytest.mark.parametrize("covariance", [(4.0, 0.0, 4.0), (9.0, 5.0, 4.0), (2.0, -1.5, 20.0)])
@pytest.mark.parametrize("place", [(30.3, 19.8), (-2.0, 3.0), (61.0, 41.5)])
def test_elliptical_gaussian_matches_its_density(covariance, place):
    image = np.zeros((40, 60))
    add_elliptical(image, np.array([[*place, 100.0, *covariance]]), 1e-10)
    xx, xy, yy = covariance
    x, y = np.meshgrid(np.arange(60), np.arange(40))
    density = multivariate_normal(place, [[xx, xy], [xy, yy]]).pdf(np.dstack([x, y]))
    # The recurrence along a row loses a few digits; the box ends where the floor is reached.
    np.testing.assert_allclose(image, 100 * density, rtol=1e-10, atol=1.1e-10)


def quadrature(count):
    nodes, weights = np.polynomial.legendre.leggauss(count)
    return nodes / 2, weights / 2


def test_integrated_gaussians_match_the_exact_integral(stars):
    image = np.zeros((40, 60))
    variance = stars[:, 3] ** 2
    blobs = np.column_stack([stars[:, :3], variance, 0 * variance, variance])
    add_integrated(image, blobs, 1e-14, *quadrature(8))
    # Eight nodes are exact to rounding for a sigma of one pixel or more.
    wanted = slow_round(image.shape, stars)
    np.testing.assert_allclose(image, wanted, rtol=1e-9, atol=1e-11 * stars[:, 2].max())


def test_turned_gaussians_match_a_fine_sum_over_the_pixel():
    place, covariance, fine = (3.3, 4.1), [[0.5, 0.2], [0.2, 0.3]], 60
    image = np.zeros((9, 8))
    blob = [*place, 7.0, covariance[0][0], covariance[0][1], covariance[1][1]]
    add_integrated(image, np.array([blob]), 1e-14, *quadrature(8))
    u = (np.arange(8 * fine) + 0.5) / fine - 0.5
    v = (np.arange(9 * fine) + 0.5) / fine - 0.5
    density = multivariate_normal(place, covariance).pdf(np.dstack(np.meshgrid(u, v)))
    wanted = 7 * density.reshape(9, fine, 8, fine).mean((1, 3))
    # The midpoint rule errs by h^2/24 of the second derivatives, 8 px^-2 of the peak together.
    np.testing.assert_allclose(image, wanted, rtol=0, atol=1e-4 * wanted.max())


def test_long_thin_gaussians_are_not_lost_to_underflow():
    # From the corner of their box on, values would have to grow from exp(-1e5).
    major, minor, side = 60.0**2, 0.6**2, 161
    xx, xy = (major + minor) / 2, (major - minor) / 2
    image = np.zeros((side, side))
    add_integrated(image, np.array([[80.0, 80.0, 1.0, xx, xy, xx]]), 1e-12, *quadrature(8))
    nodes, weights = quadrature(8)
    places = (np.arange(side)[:, None] + nodes).ravel()
    density = multivariate_normal((80, 80), [[xx, xy], [xy, xx]]).pdf(
        np.dstack(np.meshgrid(places, places))
    )
    each = np.tile(weights, side)
    wanted = (density * np.outer(each, each)).reshape(side, 8, side, 8).sum((1, 3))
    # Up to where the level of 1e-12 ends it; the recurrence loses a few digits.
    np.testing.assert_allclose(image, wanted, rtol=0, atol=1e-11 * wanted.max())


def test_integrated_gaussians_end_at_the_level():
    image = np.zeros((41, 41))
    add_integrated(image, np.array([[20.0, 20.0, 1.0, 1.0, 0.0, 1.0]]), 1e-4, *quadrature(8))
    assert image[20, 20 + 4] > 0
    assert image[20, 20 + 5] == 0


def slow_integral(nodes, solid, frames, first, blobs):
    """Return the flux of every source in every pixel, node by node."""
    out = np.zeros(len(nodes))
    for s, (towards, east, north) in enumerate(frames):
        c = nodes @ towards
        e, n = (nodes @ east) / c, (nodes @ north) / c
        for peak, ee, en, nn in blobs[first[s] : first[s + 1]]:
            density = peak * np.exp(-0.5 * (ee * e * e + 2 * en * e * n + nn * n * n))
            out += (density * solid / c**3).sum(1)
    return out


def test_integral_over_pixels_matches_the_slow_twin():
    rng = np.random.default_rng(5)
    frames = np.stack([np.linalg.qr(rng.normal(size=(3, 3)))[0].T for _ in range(3)])
    frames[1:, 0] = frames[0, 0] + 1e-4 * rng.normal(size=(2, 3))
    nodes = frames[0, 0] + 3e-4 * rng.normal(size=(20, 9, 3))
    nodes /= np.linalg.norm(nodes, axis=-1, keepdims=True)
    solid = rng.uniform(1e-9, 2e-9, (20, 9))
    first = np.array([0, 2, 3, 5])
    blobs = np.column_stack([rng.uniform(1, 9, 5), np.full((5, 3), [2e7, 3e6, 1e7])])
    out = np.ones(20)
    integrate_sources(out, nodes, solid, frames, np.full(3, 9.0), first, blobs)
    expected = 1 + slow_integral(nodes, solid, frames, first, blobs)
    np.testing.assert_allclose(out, expected, rtol=1e-12)


def test_sources_out_of_reach_are_skipped():
    frames = np.eye(3)[None]
    nodes = np.tile([1.0, 0.0, 0.0], (4, 1, 1))
    nodes[2:, 0] = [0.0, 1.0, 0.0]
    out = np.zeros(4)
    blobs = np.array([[2.0, 1.0, 0.0, 1.0]])
    integrate_sources(out, nodes, np.ones((4, 1)), frames, np.array([0.1]), np.array([0, 1]), blobs)
    np.testing.assert_array_equal(out, [2.0, 2.0, 0.0, 0.0])


def test_warp_matches_interpolation_by_scipy():
    from scipy.ndimage import map_coordinates

    rng = np.random.default_rng(5)
    plane = rng.standard_normal((60, 70)).astype(np.float32)
    warp = np.array([[0.9, -0.2, 115.0], [0.25, 0.95, -190.0], [1e-4, -5e-5, 1.0]])
    first = np.array([100.0, -200.0])
    out = np.empty((30, 40), np.float32)
    warp_bilinear(plane, warp, first, out)
    y, x = np.mgrid[:30, :40]
    u, v, w = np.einsum("ab,bji->aji", warp, np.stack([x, y, np.ones_like(x)]))
    wanted = map_coordinates(plane.astype(float), [v / w - first[1], u / w - first[0]], order=1)
    np.testing.assert_allclose(out, wanted, atol=1e-6)
