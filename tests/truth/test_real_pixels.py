"""The whole command on a corner of a real FFI, with real stars and MAST's own response."""

import numpy as np
import pytest
from realdata import REAL

from benchmarks.realpixels import (
    CORNER,
    Corner,
    chosen_stars,
    measure,
    place_in,
    residual,
    subtracted,
)
from syndiff.window import Window

SMALL = Window(48, 24, 70, 44)
"""Around a star of T = 9.24, with a brighter one on the edge."""

pytestmark = pytest.mark.skipif(
    not REAL.exists(), reason=f"there is no {REAL}: real data are not part of the project"
)


def left(corner, window, models, name):
    """What a model leaves of the window's unblended stars, parts of the norm."""
    image = corner.pixels(window)
    stars = chosen_stars(corner, window)
    return np.array([residual(image, models[name], *place_in(window, s)).norm for s in stars])


@pytest.fixture(scope="module")
def corner():
    return Corner(REAL)


@pytest.mark.parametrize("window", [SMALL, pytest.param(CORNER, marks=pytest.mark.full)], ids=str)
def test_templates_leave_of_real_stars_what_their_response_leaves(corner, window, tmp_path):
    """Places, orientation and response at once; a mirrored response leaves 13 % or more."""
    models = measure(corner, window, tmp_path, "prf")
    prf, direct = (left(corner, window, models, name) for name in ("prf", "direct"))
    assert len(prf) >= 1
    assert (prf - direct).max() < 6e-3
    assert np.median(prf) < 0.075
    difference, correlation = subtracted(corner.pixels(window), models["prf"])
    assert correlation > 0.985
    assert np.abs(difference).max() < 0.2 * corner.pixels(window).max()
