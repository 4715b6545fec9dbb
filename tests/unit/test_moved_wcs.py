"""A WCS moved with its stars."""

import numpy as np
import pytest
from smallsky import ccd_frame, small_frame

from syndiff.pointing.moved_wcs import moved_frame

FRAMES = {"SIP of order 4": lambda: ccd_frame(20, 3, 3), "other orders": small_frame}


@pytest.mark.parametrize("name", FRAMES)
@pytest.mark.parametrize(
    ("shift", "slope"),
    [
        ((0.3, -0.2), ((0, 0), (0, 0))),
        ((0.3, -0.2), ((2e-5, -1e-4), (1e-4, -3e-5))),
        ((0.0, 0.0), ((1e-3, 2e-3), (-5e-4, 1e-3))),
    ],
)
def test_sources_stand_farther_by_what_was_given(name, shift, slope):
    frame = FRAMES[name]()
    ny, nx = frame.shape
    x, y = np.meshgrid(np.linspace(0, nx - 1, 7), np.linspace(0, ny - 1, 7))
    moved = moved_frame(frame, np.array(shift), np.array(slope, float))
    sources = np.stack([x, y]) - np.array(shift)[:, None, None]
    sources -= np.einsum("ab,bij->aij", np.array(slope), np.stack([x, y]))
    before, after = frame.pixel_to_sky(*sources), moved.pixel_to_sky(x, y)
    # cards hold 16 digits of coefficients whose terms reach 70 px
    np.testing.assert_allclose(after, before, rtol=0, atol=1e-7 * 21 / 3600)


def test_nothing_moves_nothing():
    frame = ccd_frame(20, 3, 3)
    same = moved_frame(frame, np.zeros(2), np.zeros((2, 2)))
    np.testing.assert_array_equal(same.pixel_to_sky(100, 200), frame.pixel_to_sky(100, 200))
