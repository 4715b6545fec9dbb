"""Kernels of detection against their textbook forms."""

import numpy as np
import pytest
from scipy.ndimage import binary_dilation, convolve

from syndiff.kernels import detect

SHAPES = [(7, 9), (64, 64), (65, 130), (1, 5), (3, 1)]


def random_cells(shape, seed):
    rng = np.random.default_rng(seed)
    flux = rng.normal(0, 1, shape).astype(np.float32)
    count = rng.choice(np.array([0, 7, 16, 16, 16], np.uint8), shape)
    return flux * (count > 0), count


@pytest.mark.parametrize("shape", SHAPES)
def test_sum_cells_sums_two_by_two(shape):
    flux, count = random_cells(shape, 1)
    rows, columns = -(-shape[0] // 2), -(-shape[1] // 2)
    got = np.full((rows, columns), 9, np.float32), np.full((rows, columns), 9, np.uint8)
    detect.sum_cells(flux, count % 5, *got)
    pad = (0, 2 * rows - shape[0]), (0, 2 * columns - shape[1])
    for plane, out in zip((flux, count % 5), got, strict=True):
        wanted = np.pad(plane, pad).reshape(rows, 2, columns, 2).sum(axis=(1, 3))
        # float32 sums of four values of order 1
        np.testing.assert_allclose(out, wanted, atol=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("step", [1, 3])
def test_mesh_medians_looks_at_whole_dark_cells(shape, step):
    flux, count = random_cells(shape, 2)
    detected = (np.random.default_rng(5).random(shape) < 0.3).astype(np.uint8)
    out = np.zeros((-(-shape[0] // 64), -(-shape[1] // 64)), np.float32)
    looked_at = np.zeros(out.shape, np.int32)
    detect.mesh_medians(flux, count, detected, step, 4, out, looked_at)
    for J, I in np.ndindex(out.shape):
        window = np.s_[64 * J : 64 * J + 64 : step, 64 * I : 64 * I + 64 : step]
        samples = flux[window][(count[window] == 16) & (detected[window] == 0)]
        assert looked_at[J, I] == samples.size
        wanted = np.median(samples) / 16 if samples.size >= 4 else np.nan
        # one rounding of the mean of the two middle values
        np.testing.assert_allclose(out[J, I], wanted, rtol=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_add_residual_takes_out_level_times_count(shape):
    flux, count = random_cells(shape, 3)
    level = np.random.default_rng(6).normal(size=(-(-shape[0] // 64), -(-shape[1] // 64)))
    level = level.astype(np.float32)
    out = np.ones(shape, np.float32)
    detect.add_residual(flux, count, level, np.float32(0.3), out)
    plane = np.repeat(np.repeat(level, 64, 0), 64, 1)[: shape[0], : shape[1]]
    # float32 arithmetic on values of up to 50
    np.testing.assert_allclose(out, 1 + 0.3 * (flux - plane * count), atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_matched_filter_is_signal_over_noise(shape):
    flux, count = random_cells(shape, 4)
    variance = np.where(count > 0, 0.5 + np.abs(flux), 0).astype(np.float32)
    out = np.empty(shape, np.float32)
    detect.matched_filter(flux, variance, out)
    kernel = np.outer([1, 2, 1], [1, 2, 1]).astype(float)
    signal = convolve(flux.astype(float), kernel, mode="constant")
    noise = np.sqrt(convolve(variance.astype(float), kernel**2, mode="constant"))
    wanted = np.divide(signal, noise, where=count > 0, out=np.full(shape, np.nan))
    # float32 sums of nine values of order 1
    np.testing.assert_allclose(out, wanted, atol=3e-6)


def test_matched_filter_ignores_flux_without_variance():
    flux, variance = np.ones((5, 5), np.float32), np.ones((5, 5), np.float32)
    flux[2, 2], variance[2, 2] = 1e6, 0
    out = np.empty((5, 5), np.float32)
    detect.matched_filter(flux, variance, out)
    assert np.isnan(out[2, 2])
    # (16 - 2) / sqrt(36 - 4): the filter's sums without one side cell
    assert out[2, 1] == pytest.approx(14 / np.sqrt(32), rel=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_grow_is_dilation_by_a_square(shape):
    marked = (np.random.default_rng(7).random(shape) < 0.1).astype(np.uint8)
    out = np.full(shape, 7, np.uint8)
    detect.grow(marked, out)
    wanted = binary_dilation(marked, np.ones((3, 3)))
    np.testing.assert_array_equal(out, wanted.astype(np.uint8))


@pytest.mark.parametrize("n", [1, 2, 3, 10, 999, 1000])
@pytest.mark.parametrize("kind", ["noise", "ties", "one sign", "zeros of both signs"])
def test_median_is_numpys(n, kind):
    samples = np.random.default_rng(n).normal(size=n).astype(np.float32)
    if kind == "ties":
        samples = np.round(samples)
    elif kind == "one sign":
        samples = -np.exp(20 * samples)
    elif kind == "zeros of both signs":
        samples = np.copysign(np.float32(0), samples)
    # one rounding of the mean of the two middle values
    np.testing.assert_allclose(detect.median(samples.copy()), np.median(samples), rtol=2e-7)


def blocks_of(plane, side):
    """Sums of blocks, the last ones smaller."""
    rows, columns = (-(-n // side) for n in plane.shape)
    pad = (0, side * rows - plane.shape[0]), (0, side * columns - plane.shape[1])
    return np.pad(plane, pad).reshape(rows, side, columns, side).sum(axis=(1, 3))


@pytest.mark.parametrize("shape", SHAPES)
def test_mesh_sums_are_of_dark_cells_above_the_level(shape):
    flux, count = random_cells(shape, 7)
    detected = np.random.default_rng(8).choice(np.array([0, 0, 1, 2], np.uint8), shape)
    level = np.random.default_rng(6).normal(size=(-(-shape[0] // 64), -(-shape[1] // 64)))
    sums, counts = np.zeros(level.shape), np.zeros(level.shape)
    detect.mesh_sums(flux, count, detected, level.astype(np.float32), sums, counts)
    plane = np.repeat(np.repeat(level, 64, 0), 64, 1)[: shape[0], : shape[1]]
    dark = detected == 0
    # float32 arithmetic on sums of some thousands
    np.testing.assert_allclose(sums, blocks_of((flux - plane * count) * dark, 64), atol=0.02)
    np.testing.assert_array_equal(counts, blocks_of(count * dark.astype(float), 64))


@pytest.mark.parametrize("shape", SHAPES)
def test_dark_and_marked_cells_are_summed_by_fours(shape):
    flux, count = random_cells(shape, 9)
    detected = np.random.default_rng(10).choice(np.array([0, 0, 1, 2], np.uint8), shape)
    rows, columns = (-(-n // 4) for n in shape)
    sums = [np.zeros((rows, columns), np.float32) for _ in range(2)]
    detect.sum_dark(flux, count.astype(np.float32), detected, *sums)
    for plane, got in zip((flux, count), sums, strict=True):
        np.testing.assert_allclose(got, blocks_of(plane * (detected == 0.0), 4), atol=1e-5)
    marked = np.zeros((rows, columns), np.uint8)
    detect.count_marked((detected > 0).astype(np.uint8), marked)
    np.testing.assert_array_equal(marked, blocks_of((detected > 0).astype(int), 4))


@pytest.mark.parametrize("shape", SHAPES)
def test_wide_cells_are_marked_where_there_are_data(shape):
    rng = np.random.default_rng(11)
    wide = (rng.random([-(-n // 8) for n in shape]) < 0.5).astype(np.uint8)
    variance = rng.choice(np.array([0, 1], np.float32), shape)
    got = np.ones(shape, np.uint8)
    detect.mark_wide(wide, variance, got)
    where = np.repeat(np.repeat(wide, 8, 0), 8, 1)[: shape[0], : shape[1]]
    np.testing.assert_array_equal(got, np.where(where * variance > 0, 2, 1))
