"""Tiles fixed to the CCD."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from syndiff.errors import ConfigError
from syndiff.ffi.tiles import EDGE_PX, MARGIN_PX, REACH_PX, TILE_PX, TileGrid
from syndiff.window import Window

SCIENCE = Window(44, 3, 44 + 300, 3 + 130)
GRID = TileGrid(SCIENCE)


def windows_inside(science):
    x = st.lists(st.integers(science.x0, science.x1), min_size=2, max_size=2, unique=True)
    y = st.lists(st.integers(science.y0, science.y1), min_size=2, max_size=2, unique=True)
    return st.tuples(x.map(sorted), y.map(sorted)).map(
        lambda c: Window(c[0][0], c[1][0], c[0][1], c[1][1])
    )


def test_the_grid_covers_the_science_window():
    assert GRID.shape == (3, 5)
    assert GRID.covering(SCIENCE) == Window(0, 0, 5, 3)
    whole = GRID.pixels(Window(0, 0, 5, 3))
    assert whole.contains(SCIENCE)
    assert (whole.x0, whole.y0) == (44, 3)
    assert TileGrid(Window(44, 0, 2092, 2048)).shape == (32, 32)


@given(windows_inside(SCIENCE))
def test_tiles_hold_all_that_sampling_a_window_needs_and_no_tile_more(window):
    tiles = GRID.covering(window)
    held = GRID.pixels(tiles)
    needed = window.grown(EDGE_PX)
    assert held.contains(needed.intersection(SCIENCE))
    for k in range(tiles.x0, tiles.x1):
        assert GRID.pixels(Window(k, tiles.y0, k + 1, tiles.y1)).intersection(needed)
    for k in range(tiles.y0, tiles.y1):
        assert GRID.pixels(Window(tiles.x0, k, tiles.x1, k + 1)).intersection(needed)


@given(windows_inside(SCIENCE), st.floats(0.5, REACH_PX))
def test_inputs_are_what_a_response_reaches_and_no_whole_tiles(window, reach_px):
    inputs = GRID.inputs(window, reach_px)
    margin = window.x0 - inputs.x0
    assert inputs == window.grown(margin)
    assert EDGE_PX + reach_px <= margin < EDGE_PX + reach_px + 1
    assert GRID.inputs(window) == window.grown(EDGE_PX + REACH_PX)
    assert SCIENCE.grown(MARGIN_PX).contains(GRID.inputs(window))  # all of it is mapped


def test_inputs_of_pixels_that_see_no_sky_are_not_asked_for():
    beyond = Window(0, 0, 60, 20)
    assert GRID.inputs(beyond) == GRID.inputs(Window(44, 3, 60, 20))


@pytest.mark.parametrize("corner", [(0, 0), (400, 3), (44, 140), (42, 3), (344, 3), (44, 133)])
def test_windows_outside_are_refused(corner):
    """Also those that only the margin would bring inside."""
    x, y = corner
    message = rf"window {x},{y},{x + 1},{y + 1} lies outside the science window {SCIENCE}: give"
    with pytest.raises(ConfigError, match=message):
        GRID.covering(Window(x, y, x + 1, y + 1))
    with pytest.raises(ConfigError, match=message):
        GRID.inputs(Window(x, y, x + 1, y + 1))


def test_tiles_are_counted_without_a_margin_when_asked():
    first = Window(44, 3, 44 + TILE_PX, 3 + TILE_PX)
    assert GRID.covering(first, margin_px=0) == Window(0, 0, 1, 1)
    assert GRID.covering(first) == Window(0, 0, 2, 2)
    np.testing.assert_array_equal(GRID.pixels(Window(0, 0, 1, 1)).shape, TILE_PX)
