"""Samples of a scene against sums over taps."""

import numpy as np
import pytest

from syndiff.kernels.sample import (
    Places,
    pick_flags,
    sample_boxes,
    sample_constant,
    sample_field,
)


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


def displacement(nodes, spacing, x, y):
    """Bilinear between the four nodes around a place, continued beyond the last ones."""
    my, mx = nodes.shape
    i = int(np.clip(np.floor(x / spacing), 0, mx - 2))
    j = int(np.clip(np.floor(y / spacing), 0, my - 2))
    s, t = x / spacing - i, y / spacing - j
    weights = np.outer([1 - t, t], [1 - s, s])
    return (nodes[j : j + 2, i : i + 2] * weights).sum()


def reference_field(scene, corner, step, table, places, shape):
    """Every tap of every output pixel, in float64."""
    out = np.zeros(shape)
    n, before = len(table) - 1, table.shape[1] // 2 - 1
    for j, i in np.ndindex(shape):
        x, y = places.x + i + places.beside_x, places.y + j + places.beside_y
        column = (x - displacement(places.dx, places.spacing, x, y)) * step
        row = (y - displacement(places.dy, places.spacing, x, y)) * step
        taps = []
        for place in (row, column):
            fraction = place - np.floor(place)
            taps.append([np.interp(fraction, np.arange(n + 1) / n, tap) for tap in table.T])
        for m, wy in enumerate(taps[0]):
            for k, wx in enumerate(taps[1]):
                at = int(np.floor(row)) - before + m, int(np.floor(column)) - before + k
                out[j, i] += wy * wx * scene[at[0] - corner[0], at[1] - corner[1]]
    return out


@pytest.fixture(
    params=[(12, 4, 7, 40.0), (4, 2, 5, 0.0), (2, 1, 16, -0.375)],
    ids=["flux", "others", "below zero"],
)
def sampled(request):
    """Taps, samples per pixel, spacing, first pixel; a scene that just holds every tap."""
    taps, step, spacing, first = request.param
    rng = np.random.default_rng(taps)
    shape = (5, 17)
    nodes = int((first + 20) // spacing) + 2
    dx, dy = rng.uniform(-1, 1, (2, nodes, nodes))
    corner = tuple(int(step * (np.floor(first) - 1)) - taps // 2 + 1 for _ in "yx")
    sides = [
        int(step * (np.ceil(first) + n + 1)) + taps // 2 - c
        for n, c in zip(shape, corner, strict=True)
    ]
    scene = rng.normal(size=sides).astype(np.float32)
    table = rng.normal(size=(9, taps)).astype(np.float32)
    return (
        scene,
        corner,
        step,
        table,
        Places(dx, dy, spacing, *[round(first)] * 2, *[first - round(first)] * 2),
        shape,
    )


def test_field_agrees_with_a_sum_over_taps(sampled):
    scene, corner, step, table, places, shape = sampled
    out = np.full(shape, 7, np.float32)
    sample_field(scene, corner, step, table, places, out)
    wanted = reference_field(scene, corner, step, table, places, shape)
    # float32 sums of at most 144 products of order 1
    np.testing.assert_allclose(out, wanted, rtol=0, atol=3e-5)


def test_field_is_bitwise_the_same_in_any_part(sampled):
    scene, corner, step, table, places, shape = sampled
    whole, part = np.empty(shape, np.float32), np.empty((2, 6), np.float32)
    sample_field(scene, corner, step, table, places, whole)
    cut = np.ascontiguousarray(scene[step:, 2 * step :])
    inner = places._replace(x=places.x + 7, y=places.y + 3)
    sample_field(cut, (corner[0] + step, corner[1] + 2 * step), step, table, inner, part)
    np.testing.assert_array_equal(part, whole[3:5, 7:13])


def test_picked_flags_are_those_nearest(sampled):
    scene, corner, step, _, places, shape = sampled
    flags = np.random.default_rng(3).integers(0, 256, scene.shape).astype(np.uint8)
    out = np.zeros(shape, np.uint8)
    pick_flags(flags, corner, step, places, out)
    for j, i in np.ndindex(shape):
        x, y = places.x + i + places.beside_x, places.y + j + places.beside_y
        column = np.rint((x - displacement(places.dx, places.spacing, x, y)) * step)
        row = np.rint((y - displacement(places.dy, places.spacing, x, y)) * step)
        assert out[j, i] == flags[int(row) - corner[0], int(column) - corner[1]]
