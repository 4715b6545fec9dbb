"""Decimation against sums over the spline's own formula."""

import numpy as np
import pytest

from syndiff.kernels.decimate import (
    SPLINE,
    Boxes,
    CoarseSums,
    scatter_light,
    split_light,
    split_variance,
)


def spline(t):
    t = np.abs(t)
    return np.where(t < 0.5, 0.75 - t**2, np.where(t < 1.5, 0.5 * (1.5 - t) ** 2, 0.0))


def spline_matrix(n_boxes):
    """(cells, boxes): weight of each 0.5" box in each 2" cell, from their centres in pixels."""
    cell = 8 * np.arange(-(-n_boxes // 4))[:, None] + 3.5
    return spline((2 * np.arange(n_boxes) + 0.5 - cell) / 8)


def random_boxes(shape, seed):
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 5, shape).astype(np.uint8)
    flux = (rng.normal(0, 3, shape) * (counts > 0)).astype(np.float32)
    cells, mesh = ((-(-shape[0] // size), -(-shape[1] // size)) for size in (2, 128))
    detected = rng.choice(np.array([0, 0, 0, 1, 2], np.uint8), cells)
    level, pedestal = rng.normal(size=(2, *mesh)).astype(np.float32)
    return Boxes(flux, counts, detected, level, pedestal)


def run_split(boxes):
    shape = boxes.flux.shape
    fine, coarse = ((-(-shape[0] // size), -(-shape[1] // size)) for size in (4, 16))
    out = CoarseSums(np.zeros(fine, np.float32), np.zeros(coarse), np.zeros(coarse, np.uint16))
    split_light(boxes, SPLINE, out)
    return out


def above_level(boxes):
    """Light, the rest, and where light is: extended light stands on a pedestal of the rest."""
    rows, columns = boxes.flux.shape
    level, pedestal = (
        np.repeat(np.repeat(mesh, 128, 0), 128, 1)[:rows, :columns].astype(float) * boxes.counts
        for mesh in (boxes.level, boxes.pedestal)
    )
    kind = np.repeat(np.repeat(boxes.detected, 2, 0), 2, 1)[:rows, :columns]
    above = boxes.flux.astype(float) - level
    rest = np.choose(kind, [above, 0 * above, pedestal])
    return above - rest, rest, kind > 0


@pytest.mark.parametrize("shape", [(12, 12), (131, 260), (5, 30), (1, 1), (128, 129), (16, 7)])
def test_split_light_agrees_with_matrices(shape):
    boxes = random_boxes(shape, shape[1])
    out = run_split(boxes)
    light, rest, _ = above_level(boxes)
    wanted = spline_matrix(shape[0]) @ light @ spline_matrix(shape[1]).T
    # float32 sums of 144 weighted values of order 10
    np.testing.assert_allclose(out.light, wanted, atol=3e-5)
    rows, columns = out.faint.shape
    pad = (0, 16 * rows - shape[0]), (0, 16 * columns - shape[1])
    for plane, got in ((rest, out.faint), (boxes.counts.astype(float), out.counts)):
        boxed = np.pad(plane, pad).reshape(rows, 16, columns, 16).sum(axis=(1, 3))
        np.testing.assert_allclose(got, boxed, atol=3e-4)


def test_weights_are_the_splines_and_sum_to_one():
    np.testing.assert_allclose(SPLINE, spline((np.arange(12) - 5.5) / 4), rtol=1e-7)
    for start in range(4):
        # float32 weights
        assert SPLINE[start::4].sum() == pytest.approx(1, abs=1e-7)


@pytest.mark.parametrize("place", [40, 41, 42, 43])
def test_second_moment_does_not_depend_on_the_place_in_a_cell(place):
    flux = np.zeros((96, 96), np.float32)
    flux[place, 48] = 1
    ones = np.ones((48, 48), np.uint8)
    boxes = Boxes(flux, np.full((96, 96), 4, np.uint8), ones, *np.zeros((2, 1, 1), np.float32))
    profile = run_split(boxes).light.sum(axis=1, dtype=float)
    centre = 8 * np.arange(profile.size) + 3.5
    mean = (profile * centre).sum()
    assert mean == pytest.approx(2 * place + 0.5, abs=1e-5)
    # a quadratic B-spline of 8 px: 8^2 / 4
    assert (profile * (centre - mean) ** 2).sum() == pytest.approx(16, abs=1e-4)


def test_scatter_light_agrees_with_split_light():
    boxes = random_boxes((50, 43), 5)
    light, _, lit = above_level(boxes)
    row, column = np.nonzero(lit)
    out = np.zeros((13, 11))
    values = light[lit].astype(np.float32)
    scatter_light(row.astype(np.int32), column.astype(np.int32), values, SPLINE, out)
    # float32 sums of 144 weighted values of order 10
    np.testing.assert_allclose(out, run_split(boxes).light, atol=3e-5)


def test_split_variance_keeps_detected_and_undetected_apart():
    rng = np.random.default_rng(6)
    variance = rng.random((19, 27)).astype(np.float32)
    detected = (rng.random((19, 27)) < 0.5).astype(np.uint8)
    out = np.zeros((2, 3, 4))
    split_variance(variance, detected, out)
    for plane, keep in enumerate((detected, 1 - detected)):
        boxed = np.pad(variance.astype(float) * keep, ((0, 5), (0, 5)))
        wanted = boxed.reshape(3, 8, 4, 8).sum(axis=(1, 3))
        # float32 sums of up to eight values
        np.testing.assert_allclose(out[plane], wanted, rtol=1e-6)
