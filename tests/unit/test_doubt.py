"""Light that may be wrong, in cells: lost in holes, pieced together, stood in, put back."""

import numpy as np
import pytest

from syndiff.masks import DataQuality
from syndiff.scenes.doubt import (
    hidden_light,
    pieced_light,
    put_back_light,
    speckled_light,
    stood_in_light,
)

NOWHERE = np.zeros(0, np.int64), np.zeros(0, np.int64)


def star_on_cells(shape, row, column, flux):
    """A Moffat profile (beta 3, 1.3") on 2" cells."""
    y, x = np.indices(shape)
    radius2 = ((y - row) ** 2 + (x - column) ** 2) * 4.0
    light = (1 + radius2 / 1.27**2) ** -3
    return (flux * light / light.sum()).astype(np.float32)


@pytest.mark.parametrize("radius", [0.5, 1.5, 2.3])
def test_a_lost_core_is_taken_for_about_the_star(radius):
    light = star_on_cells((31, 31), 15, 15, 1e6)
    y, x = np.indices(light.shape)
    is_core = np.hypot(y - 15, x - 15) <= radius
    lost = light[is_core].sum()
    light[is_core] = 0
    flags = np.where(is_core, DataQuality.SATURATED_IN_PS1, 0).astype(np.uint8)
    cells, flux = hidden_light(light, flags, nobody=NOWHERE, cut=None, least=10.0)
    assert set(zip(*cells, strict=True)) == set(zip(*np.nonzero(is_core), strict=True))
    assert 0.05 < flux.sum() / lost < 20


def test_nothing_is_lost_where_no_light_is_or_a_star_was_put_back():
    light = star_on_cells((31, 31), 15, 15, 1e6)
    flags = np.zeros(light.shape, np.uint8)
    flags[14:17, 14:17] = flags[2:4, 2:4] = DataQuality.LEFT_OUT_LIGHT
    cut = np.zeros(light.shape, np.bool_)
    cut[13:18, 13:18] = True
    _, flux = hidden_light(light, flags, nobody=NOWHERE, cut=cut, least=100.0)
    assert flux.size == 0


def test_a_gap_beside_a_star_may_hide_some_of_it():
    light = star_on_cells((31, 31), 15, 15, 1e4)
    light[17:25] = 0
    row, column = (v.ravel() for v in np.mgrid[17:25, 0:31])
    cells, flux = hidden_light(
        light, np.zeros(light.shape, np.uint8), nobody=(row, column), cut=None, least=10.0
    )
    assert cells[0].min() == 17
    assert cells[0].max() == 18
    assert abs(cells[1] - 15).max() < 6
    assert flux.max() > light[16].max()


def test_light_is_in_doubt_where_a_share_steps_not_where_it_slopes():
    row, column = (v.ravel() for v in np.mgrid[3:13, 4:14])
    light = np.full(row.size, 100.0, np.float32)
    step = np.full(row.size, 0.5, np.float32)
    found = pieced_light(light, (row, column), step, (20, 20)).reshape(10, 10)
    assert (found[1:-1, 1:-1] == 0).all()
    assert found[0] == pytest.approx(0.06 * 100 * 0.5)
    slope = (0.04 * (row - 2)).astype(np.float32)
    slope[slope == slope.max()] = 0
    inner = pieced_light(light, (row, column), slope, (20, 20)).reshape(10, 10)[1:8, 1:-1]
    assert (inner == 0).all()


def test_single_lost_pixels_beside_light():
    total = np.zeros((12, 12), np.float32)
    total[5, 6] = 1000
    missing = np.zeros((4, 3, 3), np.float32)
    missing[1, 1, 1], missing[2, 0, 0], missing[3, 1, 1] = 2, 1, 900
    found = speckled_light(total, missing, np.full((4, 3, 3), 0.5, np.float32))
    # two pixels of the band i; a gap is no speck
    assert found[1, 1] == pytest.approx(0.08 * 0.344 * 2 * 0.5 * 1000)
    assert np.count_nonzero(found) == 1


def test_the_more_bands_are_missing_the_less_is_known():
    light = np.full(5, -10.0, np.float32)
    found = stood_in_light(light, np.array([0, 2, 6, 7, 15], np.uint8))
    assert found == pytest.approx([0, 0.6, 1.2, 2.5, 0])


def test_errors_of_stars_that_are_put_back():
    errors = np.array([[40.0, 10.0, 9.0], [33.0, 31.4, 16.0], [0.0, 0.0, 1.0]])
    found = put_back_light(errors, (2, 3))
    assert found == pytest.approx(np.array([[2, 14, 0], [0, 0, 0]]))
