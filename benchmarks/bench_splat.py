"""Scattering cells onto the CCD's grid: the kernel against np.add.at with the same weights."""

import numpy as np
import pytest

from syndiff.kernels.splat import splat_cells

NODES = 8
SIDE = 64
ORIGIN = np.array([-2.0, -2.0])
FIRST = np.zeros(2, np.int64)


@pytest.fixture(scope="module")
def cells():
    """A skycell's corner: cells 0.1 px apart, a tenth of them lit."""
    rng = np.random.default_rng(1)
    light = np.where(rng.random((1, SIDE, SIDE)) < 0.1, rng.normal(size=(1, SIDE, SIDE)), 0)
    nodes = np.arange(SIDE // 8 + 1) * 0.76
    return light.astype(np.float32), *np.meshgrid(nodes, nodes)


@pytest.mark.benchmark(group="splat")
def test_kernel(benchmark, cells):
    light, x, y = cells

    def splat():
        out = np.zeros((1, 96, 96))
        splat_cells(light, 8, x, y, ORIGIN, NODES, FIRST, 0, out)
        return out

    # The same weights, added in another order.
    np.testing.assert_allclose(benchmark(splat), _add_at(light), rtol=0, atol=1e-12)


@pytest.mark.benchmark(group="splat")
def test_add_at(benchmark, cells):
    light = cells[0]
    total = benchmark(_add_at, light).sum()
    # The weights of a cell add up to one.
    assert total == pytest.approx(light.sum(dtype=np.float64), abs=1e-9)


def _add_at(light):
    out = np.zeros((1, 96, 96))
    row, column = np.nonzero(light[0])
    value = light[0, row, column].astype(np.float64)
    # A cell's centre lies 3.5 PS1 pixels after the pixel that its first lattice node is.
    u, v = (((k + 0.4375) / 8 * 0.76 + 2.0) * NODES for k in (column, row))
    for j in (-1, 0, 1):
        for i in (-1, 0, 1):
            weight = _spline(np.rint(u) + i - u) * _spline(np.rint(v) + j - v)
            place = np.rint(v).astype(int) + j, np.rint(u).astype(int) + i
            np.add.at(out[0], place, value * weight)
    return out


def _spline(t):
    t = np.abs(t)
    return np.where(t < 0.5, 0.75 - t**2, 0.5 * (1.5 - t) ** 2)
