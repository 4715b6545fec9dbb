"""Straps, saturated pixels and bleed trails of TESS in a template's flags."""

import numpy as np
import pytest

from syndiff.constants import FULL_WELL_E
from syndiff.ffi.detector_flags import flag_detector, strap_columns
from syndiff.masks import DataQuality
from syndiff.window import Window

SCIENCE = Window(44, 0, 2092, 2048)


def flags(window, bright=(), offset=(0.0, 0.0)):
    quality = np.zeros(window.shape, np.int32)
    flag_detector(quality, window, SCIENCE, bright=bright, offset=offset)
    return quality


def marked(quality, bit):
    return (quality & bit) != 0


def test_straps_repeat_and_are_mirrored():
    """As the camera's design has them: pairs, every 128 columns, the two halves alike."""
    columns = np.array(strap_columns())
    assert columns.size == len(set(columns.tolist()))
    assert set(2047 - columns) == set(columns)
    lone = [c for c in columns if c + 1 not in columns and c - 1 not in columns]
    assert not lone
    assert {76, 77, 80, 81, 84, 85} <= set(columns)
    assert {76 + 128 * k for k in range(8)} <= set(columns)


def test_straps_stand_at_science_columns_in_science_rows():
    quality = flags(Window(0, 0, 2136, 2078))
    found = np.flatnonzero(marked(quality, DataQuality.TESS_STRAP)[0])
    assert found.tolist() == [c + 44 for c in strap_columns()]
    assert marked(quality, DataQuality.TESS_STRAP)[2047].any()
    assert not quality[2048:].any()
    part = flags(Window(100, 500, 140, 520))
    assert (part == quality[500:520, 100:140]).all()


def test_stars_fainter_than_seven_do_not_saturate():
    window = Window(1010, 1010, 1041, 1041)
    assert not marked(flags(window, [(1025.0, 1025.0, 7.1)]), DataQuality.TESS_SATURATED).any()
    one = marked(flags(window, [(1025.0, 1025.0, 6.8)]), DataQuality.TESS_SATURATED)
    assert np.argwhere(one).tolist() == [[15, 15]]


def test_trails_run_along_columns_as_far_as_the_charge_goes():
    window = Window(1000, 900, 1050, 1150)
    quality = flags(window, [(1025.3, 1024.8, 4.0)])
    full = marked(quality, DataQuality.TESS_SATURATED)
    trail = marked(quality, DataQuality.TESS_BLEED)
    assert (trail | ~full).all()
    assert set(np.flatnonzero(trail.any(axis=0))) == set(np.flatnonzero(full.any(axis=0)))
    # all electrons of two seconds fit into the marked pixels twice over
    electrons = 2 * 10 ** (0.4 * (20.44 - 4.0))
    assert electrons < trail.sum() * FULL_WELL_E < 4 * electrons
    assert trail.any(axis=1).sum() > 3 * full.any(axis=1).sum()


def test_stars_move_with_the_offset_and_straps_do_not():
    window = Window(1000, 1000, 1200, 1050)
    star = [(1025.0, 1025.0, 6.5)]
    still, moved = flags(window, star), flags(window, star, (2.0, -1.0))
    here, there = (np.argwhere(marked(q, DataQuality.TESS_SATURATED)) for q in (still, moved))
    assert (there - here == [-1, 2]).all()
    straps = [marked(q, DataQuality.TESS_STRAP) for q in (still, moved)]
    assert (straps[0] == straps[1]).all()


@pytest.mark.parametrize("place", [(43.0, 5.0), (50.0, -3.0), (1e4, 1e4)])
def test_trails_stay_on_science_pixels(place):
    quality = flags(Window(0, 0, 100, 60), [(*place, 3.0)])
    assert not marked(quality, DataQuality.TESS_BLEED | DataQuality.TESS_SATURATED)[:, :44].any()
