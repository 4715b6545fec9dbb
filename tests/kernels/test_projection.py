"""The projection and lattice kernels against slow, obvious twins."""

import numpy as np
import pytest
from scipy.interpolate import RegularGridInterpolator

from syndiff.kernels.lattice import evaluate_lattice, index_cells
from syndiff.kernels.projection import project_pixels, project_vectors, unproject_pixels

ORIGIN = np.array([1044.0, 1000.0])


def sip_coefficients(order=4, seed=1):
    """Coefficients that move the corners of a CCD by some 50 px, as TESS's do."""
    rng = np.random.default_rng(seed)
    sip = np.zeros((2, order + 1, order + 1))
    for p in range(order + 1):
        for q in range(order + 1 - p):
            if p + q >= 2:
                sip[:, p, q] = rng.uniform(-15, 15, 2) / 1000.0 ** (p + q)
    return sip


def distort(sip, u, v):
    """U and V by the definition."""
    n = sip.shape[1]
    powers = [(p, q) for p in range(n) for q in range(n - p)]
    return [
        w + sum(sip[axis, p, q] * u**p * v**q for p, q in powers) for axis, w in enumerate((u, v))
    ]


def undistort(sip, U, V):
    """u and v by fixed-point iteration, which converges as the distortion is a few per cent."""
    u, v = U, V
    for _ in range(200):
        a, b = distort(sip, u, v)
        u, v = u + U - a, v + V - b
    return u, v


HOMOGRAPHY = np.array([[0.012, 0.003, -700.0], [-0.003, 0.0121, 300.0], [2e-8, -3e-8, 1.0]])


@pytest.mark.parametrize("order", [0, 2, 4, 7])
def test_project_pixels_agrees_with_fixed_point_iteration(order):
    sip = sip_coefficients(order)
    pixels = np.random.default_rng(2).uniform(0, 60000, (2, 200))
    got = np.empty((2, 200))
    project_pixels(HOMOGRAPHY, sip, ORIGIN, pixels, got)
    U, V, w = HOMOGRAPHY @ [*pixels, np.ones(200)]
    expected = np.array(undistort(sip, U / w, V / w)) + ORIGIN[:, None]
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-9)  # rounding of 1e3 px in 15 terms


def test_project_vectors_is_project_pixels_of_the_same_vectors():
    sip = sip_coefficients()
    vectors = np.random.default_rng(3).uniform(0.5, 1.0, (3, 50))
    matrix = np.array([[900.0, 10.0, -400.0], [-8.0, 700.0, 30.0], [0.5, 0.2, 0.4]])
    got, expected = np.empty((2, 50)), np.empty((2, 50))
    project_vectors(matrix, sip, ORIGIN, vectors, got)
    project_pixels(matrix, sip, ORIGIN, vectors[:2] / vectors[2], expected)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-9)  # rounding of 1e3 px


def test_unproject_pixels_inverts_project_pixels():
    sip = sip_coefficients()
    pixels = np.random.default_rng(4).uniform(0, 60000, (2, 200))
    there, back = np.empty((2, 200)), np.empty((2, 200))
    project_pixels(HOMOGRAPHY, sip, ORIGIN, pixels, there)
    unproject_pixels(np.linalg.inv(HOMOGRAPHY), sip, ORIGIN, there, back)
    np.testing.assert_allclose(back, pixels, rtol=0, atol=1e-7)  # 1e-9 px over a scale of 0.012


@pytest.mark.parametrize("w", [0.0, -1.0])
def test_behind_the_tangent_plane_is_nan(w):
    matrix = np.diag([1.0, 1.0, w])
    out = np.zeros((2, 1))
    project_pixels(matrix, np.zeros((2, 1, 1)), ORIGIN, np.ones((2, 1)), out)
    assert np.isnan(out).all()
    out[:] = 0
    unproject_pixels(matrix, np.zeros((2, 1, 1)), ORIGIN, np.ones((2, 1)), out)
    assert np.isnan(out).all()


@pytest.mark.filterwarnings("ignore:(invalid value|overflow) encountered")  # without the JIT
def test_no_root_is_nan():
    # u - u**2 = U has no real root above 1/4, and Newton passes the fold at u = 1/2
    sip = np.zeros((2, 3, 3))
    sip[0, 2, 0] = -1.0
    out = np.zeros((2, 4))
    pixels = np.array([[0.3, 100.0, np.inf, 0.2], [0.0, 0.0, 0.0, 0.0]])
    project_pixels(np.eye(3), sip, np.zeros(2), pixels, out)
    assert np.isnan(out[:, :3]).all()
    np.testing.assert_allclose(out[0, 3], 0.5 - np.sqrt(0.05), rtol=0, atol=1e-12)  # rounding


def test_evaluate_lattice_agrees_with_scipy():
    nodes = np.random.default_rng(5).normal(size=(5, 7))
    x, y = np.random.default_rng(6).uniform((-20, -20), (420, 300), (300, 2)).T.copy()
    twin = RegularGridInterpolator(
        (64.0 * np.arange(5), 64.0 * np.arange(7)), nodes, bounds_error=False, fill_value=None
    )
    out = np.empty(300)
    evaluate_lattice(nodes, 64, x, y, out)
    np.testing.assert_allclose(out, twin((y, x)), rtol=0, atol=1e-13)  # rounding of values near 1


def slow_index(node_x, node_y, window, columns, shape):
    """Pixel of every cell centre by two calls of evaluate_lattice and one `if`."""
    rows, cols = np.indices(shape)
    x, y = np.empty(rows.size), np.empty(rows.size)
    places = 8.0 * cols.ravel() + 3.5, 8.0 * rows.ravel() + 3.5
    evaluate_lattice(node_x, 64, *places, x)
    evaluate_lattice(node_y, 64, *places, y)
    x0, y0, x1, y1 = window
    return np.array(
        [
            round(b) * columns + round(a)
            if x0 - 0.5 <= a < x1 - 0.5 and y0 - 0.5 <= b < y1 - 0.5
            else -1
            for a, b in zip(x, y, strict=True)
        ]
    ).reshape(shape)


@pytest.mark.parametrize("nan", [False, True])
def test_index_cells_agrees_with_one_cell_at_a_time(nan):
    j, i = np.mgrid[0:5, 0:6] * 64.0
    node_x = 40.0 + 0.0113 * i + 0.0041 * j
    node_y = -1.3 - 0.0037 * i + 0.0121 * j
    if nan:
        node_x[2, 3] = node_y[2, 3] = np.nan
    window = (41, 0, 44, 2)
    out = np.full((29, 37), 7, dtype=np.int32)
    index_cells(node_x, node_y, 8, np.array([*window, 50]), out)
    expected = slow_index(node_x, node_y, window, 50, out.shape)
    np.testing.assert_array_equal(out, expected)
    assert (out >= 0).any()
    assert (out == -1).any()
