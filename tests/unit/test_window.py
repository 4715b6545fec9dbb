"""Rectangles of pixels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from syndiff.errors import ConfigError
from syndiff.window import Window

SIDES = st.tuples(*[st.integers(-20, 20)] * 2, *[st.integers(1, 15)] * 2)
WINDOWS = SIDES.map(lambda s: Window(s[0], s[1], s[0] + s[2], s[1] + s[3]))


def pixels(window):
    return {(y, x) for y in range(window.y0, window.y1) for x in range(window.x0, window.x1)}


@given(WINDOWS)
def test_a_window_is_read_as_it_is_written(window):
    assert Window.parse(str(window)) == window


@given(WINDOWS, WINDOWS)
def test_intersections_hold_the_common_pixels(one, other):
    common = one.intersection(other)
    assert (pixels(common) if common else set()) == pixels(one) & pixels(other)
    assert one.contains(other) == (pixels(other) <= pixels(one))
    assert common == other.intersection(one)


@given(WINDOWS, st.integers(0, 5))
def test_growing_adds_pixels_on_every_side(window, margin_px):
    grown = window.grown(margin_px)
    assert grown.contains(window)
    assert grown.shape == (window.shape[0] + 2 * margin_px, window.shape[1] + 2 * margin_px)
    assert grown.grown(-margin_px) == window


def test_unions_are_the_smallest_windows_that_hold_both():
    one, other = Window(3, 1, 5, 9), Window(8, 2, 9, 12)
    assert one.union(other) == other.union(one) == Window(3, 1, 9, 12)
    assert one.union(Window(4, 2, 5, 3)) == one


def test_slices_cut_rows_then_columns():
    array = np.arange(20).reshape(4, 5)
    window = Window(1, 2, 4, 4)
    np.testing.assert_array_equal(array[window.slices], [[11, 12, 13], [16, 17, 18]])
    assert window.shape == (2, 3)


@pytest.mark.parametrize("text", ["1,2,3", "1,2,3,4,5", "a,b,c,d", "1.5,2,3,4", "", "1 2 3 4"])
def test_other_texts_are_refused(text):
    with pytest.raises(ConfigError, match=r"region of interest '.*' is not x0,y0,x1,y1 \(four"):
        Window.parse(text)


@pytest.mark.parametrize("sides", [(3, 0, 3, 1), (0, 3, 1, 2)])
def test_empty_windows_are_refused(sides):
    with pytest.raises(ConfigError, match=r"window \d,\d,\d,\d holds no pixel: .*x1 > x0"):
        Window(*sides)
