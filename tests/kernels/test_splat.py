"""Splats of cells and flags against loops that spell out every B-spline."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syndiff.kernels.splat import splat_cells, splat_flags


def tilted_lattice(rows, columns, *, scale=0.7, angle=0.3, shift=(0.0, 0.0)):
    """A lattice of `rows` x `columns` squares of about `scale` pixels, turned and a bit bent."""
    j, i = np.mgrid[: rows + 1, : columns + 1].astype(float)
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    return c * i - s * j + 0.01 * i * j + shift[0], s * i + c * j - 0.02 * i**2 + shift[1]


def cell_place(lattice, per_square, j, i):
    """The TESS pixel of the centre of cell (j, i), from the PS1 pixels that it covers."""
    side = 64 // per_square
    row, column = j // per_square, i // per_square
    t = (side * j + (side - 1) / 2) / 64 - row
    s = (side * i + (side - 1) / 2) / 64 - column
    a, b = lattice[row, column], lattice[row, column + 1]
    c, d = lattice[row + 1, column], lattice[row + 1, column + 1]
    return (1 - t) * ((1 - s) * a + s * b) + t * ((1 - s) * c + s * d)


def b_spline(t):
    """The quadratic B-spline of unit width and area."""
    t = abs(t)
    if t < 0.5:
        return 0.75 - t**2
    return 0.5 * (1.5 - t) ** 2 if t < 1.5 else 0.0


def reference_splat(values, per_square, lattice, origin, nodes_per_px, first, shape):
    """Every cell onto every node of the grid."""
    out = np.zeros((values.shape[0], *shape))
    for j in range(values.shape[1]):
        for i in range(values.shape[2]):
            x, y = (cell_place(axis, per_square, j, i) for axis in lattice)
            if not (np.isfinite(x) and np.isfinite(y)):
                continue
            u = (x - origin[0]) * nodes_per_px - first[1]
            v = (y - origin[1]) * nodes_per_px - first[0]
            wx = np.array([b_spline(u - a) for a in range(shape[1])])
            wy = np.array([b_spline(v - b) for b in range(shape[0])])
            out += values[:, j, i, None, None] * np.outer(wy, wx)
    return out


def splat(values, per_square, lattice, origin, nodes_per_px, first, shape):
    out = np.zeros((values.shape[0], *shape))
    first = np.array(first, np.int64)
    splat_cells(values, per_square, *lattice, np.array(origin), nodes_per_px, first, 0, out)
    return out


def random_values(planes, ny, nx, seed):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(planes, ny, nx)).astype(np.float32)
    values[:, rng.random((ny, nx)) < 0.3] = 0
    return values


@pytest.mark.parametrize(("per_square", "nodes_per_px"), [(8, 6), (2, 2), (8, 8)])
@pytest.mark.parametrize("first", [(0, 0), (3, -2), (-4, 5)])
def test_cells_agree_with_a_loop_over_cells_and_nodes(per_square, nodes_per_px, first):
    """Also at the border of the grid: what falls on a node of it is there."""
    values = random_values(2, 2 * per_square + 1, 3 * per_square - 1, seed=per_square)
    lattice = tilted_lattice(3, 3)
    given = values, per_square, lattice, (-0.4, -0.3), nodes_per_px, first, (11, 14)
    # sums of some hundred float64 products of order 1
    np.testing.assert_allclose(splat(*given), reference_splat(*given), rtol=0, atol=1e-12)


def test_a_part_of_the_grid_is_bitwise_the_part_of_the_whole():
    values = random_values(1, 32, 32, seed=5)
    lattice = tilted_lattice(4, 4, shift=(2.0, 1.0))
    whole = splat(values, 8, lattice, (-2.0, -1.0), 6, (0, 0), (60, 50))
    for row, column, rows, columns in [(10, 11, 20, 21), (0, 30, 60, 7), (33, 2, 1, 3)]:
        part = splat(values, 8, lattice, (-2.0, -1.0), 6, (row, column), (rows, columns))
        np.testing.assert_array_equal(part, whole[:, row : row + rows, column : column + columns])


def test_squares_without_a_place_are_left_out():
    values = np.ones((1, 16, 16), np.float32)
    lattice = tilted_lattice(2, 2)
    lattice[0][0, 0] = np.nan
    given = values, 8, lattice, (-2.0, -2.0), 6, (0, 0), (40, 40)
    out = splat(*given)
    assert np.isfinite(out).all()
    # 3 of 4 squares of 64 cells; weights sum to one to a few rounding errors
    assert out.sum() == pytest.approx(192, rel=1e-13)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    angle=st.floats(0, 2 * np.pi),
    scale=st.floats(0.2, 2),
    place=st.tuples(st.floats(-30, 30), st.floats(-30, 30)),
    seed=st.integers(0, 9),
)
def test_flux_and_first_moments_are_conserved(angle, scale, place, seed):
    """To some 300 rounding errors of coordinates of at most 60 pixels."""
    values = np.abs(random_values(1, 16, 24, seed))
    lattice = tilted_lattice(2, 3, scale=scale, angle=angle, shift=place)
    origin = place[0] - 10.0, place[1] - 10.0
    out = splat(values, 8, lattice, origin, 6, (0, 0), (120, 120))[0]
    cells = [
        (values[0, j, i], *(cell_place(axis, 8, j, i) for axis in lattice))
        for j, i in np.ndindex(16, 24)
    ]
    flux, x, y = np.array(cells, float).T
    rows, columns = np.mgrid[:120, :120] / 6
    assert out.sum() == pytest.approx(flux.sum(), rel=1e-12)
    assert (out * (columns + origin[0])).sum() == pytest.approx((flux * x).sum(), abs=1e-9)
    assert (out * (rows + origin[1])).sum() == pytest.approx((flux * y).sum(), abs=1e-9)


def reference_flags(flags, per_square, lattice, origin, nodes_per_px, first, shape):
    out = np.zeros(shape, np.uint8)
    for j, i in np.ndindex(flags.shape):
        x, y = (cell_place(axis, per_square, j, i) for axis in lattice)
        if not (np.isfinite(x) and np.isfinite(y)):
            continue
        a = int(np.floor((x - origin[0]) * nodes_per_px + 0.5)) - first[1]
        b = int(np.floor((y - origin[1]) * nodes_per_px + 0.5)) - first[0]
        if 0 <= a < shape[1] and 0 <= b < shape[0]:
            out[b, a] |= flags[j, i]
    return out


@pytest.mark.parametrize("first", [(0, 0), (1, -2), (-3, 2)])
def test_flags_agree_with_a_loop_over_cells(first):
    rng = np.random.default_rng(8)
    flags = rng.choice(np.array([0, 0, 1, 2, 4, 33], np.uint8), (17, 23))
    lattice = tilted_lattice(3, 3)
    lattice[1][3, 3] = np.nan
    out = np.zeros((4, 6), np.uint8)
    out[0, 0] = 128
    splat_flags(flags, 8, *lattice, np.array([-0.4, -0.3]), 2, np.array(first, np.int64), 0, out)
    wanted = reference_flags(flags, 8, lattice, (-0.4, -0.3), 2, first, (4, 6))
    wanted[0, 0] |= 128
    np.testing.assert_array_equal(out, wanted)


@pytest.mark.parametrize("top", [1, 2, 3, 6])
def test_rows_that_have_their_sums_are_left_alone(top):
    """What is added to the others agrees with a grid that has no such rows."""
    values, lattice = random_values(2, 17, 23, seed=top), tilted_lattice(3, 3)
    arguments = (*lattice, np.array([-0.4, -0.3]), 3, np.array([-1, 1], np.int64))
    whole = np.zeros((2, 6, 7))
    splat_cells(values, 8, *arguments, 0, whole)
    part = np.full((2, 6, 7), 5.0)
    part[:, top:] = 0
    splat_cells(values, 8, *arguments, top, part)
    np.testing.assert_array_equal(part[:, top:], whole[:, top:])
    assert (part[:, :top] == 5).all()
    bits = (values[0] > 0).astype(np.uint8)
    all_flags, flags = np.zeros((2, 6, 7), np.uint8)
    splat_flags(bits, 8, *arguments, 0, all_flags)
    splat_flags(bits, 8, *arguments, top, flags)
    all_flags[:top] = 0
    np.testing.assert_array_equal(flags, all_flags)
