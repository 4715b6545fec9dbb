"""The kernels of large differences against slow twins, and against those of small ones."""

import numpy as np
import pytest
from numpy.polynomial.legendre import legvander
from scipy.ndimage import binary_dilation, maximum_filter

from syndiff.kernels.convolve import convolve_cubic, convolve_varying
from syndiff.kernels.normal import gather_samples, project_residuals, weigh_samples
from syndiff.kernels.resample import SPARE, resample
from syndiff.kernels.stars import mark_maxima, measure_boxes, sum_boxes
from syndiff.kernels.widen import widen
from syndiff.templates.template import interpolation_taps


def test_cubic_convolution_is_the_varying_one():
    rng = np.random.default_rng(1)
    phases = rng.normal(size=(2, 2, 9, 11)).astype(np.float32)
    phases[1, 0, 5, 7] = np.nan
    taps = np.array([[0, 0, 0, 0], [1, 0, 3, 4], [0, 1, 1, 2], [1, 1, 2, 0]])
    weights = rng.normal(size=(4, 4, 4))
    down, across = legvander(np.linspace(-1, 1, 6), 3).T, legvander(np.linspace(-1, 1, 7), 3).T
    wanted = np.empty((6, 7))
    convolve_varying(phases, taps, weights, down.copy(), across.copy(), wanted)
    found = np.empty((6, 7), np.float32)
    convolve_cubic(phases, taps, weights, down.copy(), across.astype(np.float32), found)
    np.testing.assert_allclose(found, wanted, atol=2e-5)
    assert np.isnan(found).sum() == 1


def test_sums_of_a_fit_against_plain_products():
    rng = np.random.default_rng(2)
    phases = rng.normal(size=(2, 2, 9, 11)).astype(np.float32)
    taps = np.array([[0, 0, 0, 0], [1, 0, 3, 4], [1, 1, 2, 1]])
    rows, columns = rng.integers(0, 5, 150), rng.integers(0, 6, 150)
    samples = np.empty((150, 4), np.float32)
    gather_samples(phases, taps, rows, columns, samples)
    for n, (row, column) in enumerate(zip(rows, columns, strict=True)):
        wanted = [phases[j, i, y + row, x + column] for j, i, y, x in taps]
        np.testing.assert_array_equal(samples[n], [*wanted, 1])
    products = rng.normal(size=(150, 6)).astype(np.float32)
    weights = rng.normal(size=(6, 4)).astype(np.float32)
    out = np.empty(150)
    weigh_samples(samples, products, weights, out)
    np.testing.assert_allclose(out, ((products @ weights) * samples).sum(1), atol=2e-5)
    residuals, sums = rng.normal(size=150), np.empty((6, 4))
    residuals[::7] = 0
    project_residuals(samples, products, residuals, sums)
    np.testing.assert_allclose(sums, (products * residuals[:, None]).T @ samples, atol=2e-4)


@pytest.mark.parametrize("run", [8, 16, 64])
def test_rows_then_columns_sample_a_smooth_scene_where_it_is(run):
    def light(y, x):
        return 100 + 30 * np.sin(0.9 * x + 0.3) * np.cos(0.7 * y)  # pixels

    step, corner, first = 4, (20, 12), (8.0, 6.0)  # rows and columns
    y, x = np.mgrid[:120, :400]
    scene = light((y + corner[0]) / step, (x + corner[1]) / step).astype(np.float32)
    nodes = np.mgrid[:6, :15] * 8.0
    dx = 0.31 + 2e-5 * nodes[1] - 1e-4 * nodes[0]
    dy = -0.47 - 3e-5 * nodes[1] + 1e-4 * nodes[0]
    steps = np.arange(1537) / 1024 - SPARE
    table = np.stack([interpolation_taps(k) for k in steps])
    out = np.empty((2, 2, 17, 75), np.float32)
    resample(scene, corner, step, table, (dx, dy, 8), first, run, out)
    for j, i in np.ndindex(2, 2):
        rows, columns = np.mgrid[:17, :75]
        y, x = rows + first[0] + j / 2, columns + first[1] + i / 2
        shift_x, shift_y = 0.31 + 2e-5 * x - 1e-4 * y, -0.47 - 3e-5 * x + 1e-4 * y
        np.testing.assert_allclose(out[j, i], light(y - shift_y, x - shift_x), atol=2e-3)


def test_maxima_are_those_of_a_filter():
    rng = np.random.default_rng(3)
    image = rng.normal(size=(30, 40))
    image[5, 6], image[29, 20] = np.nan, 9
    found = np.empty(image.shape, bool)
    mark_maxima(image, np.full(image.shape, 0.5), 0.1, found)
    filled = np.where(np.isnan(image), np.inf, image)
    wanted = filled == maximum_filter(filled, 3, mode="constant", cval=np.inf)
    np.testing.assert_array_equal(found, wanted & (image - 0.1 > 0.5))


def test_widened_marks_are_dilated_ones():
    rng = np.random.default_rng(4)
    marked = rng.random((20, 30)) < 0.02
    np.testing.assert_array_equal(
        widen(marked, 3, 3), binary_dilation(marked, np.ones((3, 3)), iterations=3)
    )
    np.testing.assert_array_equal(widen(marked, 3, 1), binary_dilation(marked, np.ones((7, 3))))


def test_boxes_around_stars_against_slices():
    rng = np.random.default_rng(5)
    image, model = rng.normal(size=(2, 20, 22))
    model[8:11, 9:12] += 20
    noise = rng.uniform(0.5, 2, image.shape)
    good = np.ones(image.shape, bool)
    good[15, 15] = False
    places = np.array([9, 14, 1]), np.array([10, 14, 10])
    sums = np.empty((3, 3))
    sum_boxes(image, model, noise, good, places, 0.2, sums)
    box = np.s_[7:12, 8:13]
    light = (model[box] - 0.2) ** 2
    wanted = [
        (image[box] ** 2 - noise[box] ** 2).sum(),
        light.sum(),
        (light / noise[box] ** 2).sum(),
    ]
    np.testing.assert_allclose(sums[0], wanted)
    assert np.isnan(sums[1:]).all()
    measured = np.empty((1, 5))
    measure_boxes(image, model, noise, (np.array([9]), np.array([10])), measured)
    around = model[3:16, 4:17].copy()
    around[2:-2, 2:-2] = np.nan
    level = np.nanmedian(around)
    flux, top = (model[box] - level).sum(), model[box].max() - level
    left = [image[box].sum() / flux, np.sqrt((noise[box] ** 2).sum()) / flux]
    peak = [np.abs(image[box]).max() / top, noise[box].max() / top]
    np.testing.assert_allclose(measured[0], [flux, *left, *peak])
