"""What holds for every frame and every catalogue, wherever on the sky."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from smallsky import small_frame, small_tessellation

from syndiff.sky.mapping import PixelMap, Reference, map_frame, sky_to_pixel

RA = st.floats(0, 360, exclude_max=True)
DEC = st.floats(-90, 90)
ROLL = st.floats(0, 360)
REFERENCE = Reference("tess1.fits", "SPOC", "2020-01-01T00:00:00", "2020-01-01T00:30:00")

settings.register_profile("mapping", derandomize=True, max_examples=30, deadline=None)


@settings(settings.get_profile("mapping"))
@given(ra=RA, dec=DEC, roll_deg=ROLL)
def test_positions_return_to_where_they_came_from(ra, dec, roll_deg):
    frame, tessellation = small_frame(ra, dec, roll_deg=roll_deg), small_tessellation(ra, dec)
    x, y = (axis.ravel() for axis in np.mgrid[-3:50:7, -3:45:6])
    sky = frame.pixel_to_sky(x, y)
    np.testing.assert_allclose(sky_to_pixel(frame, *sky), [x, y], rtol=0, atol=1e-8)
    pixel_map = PixelMap.between(tessellation["skycell.7000.005"], frame)
    # 1e-13 of a turn is 1e-9 px; 84 PS1 px to one of the frame's
    np.testing.assert_allclose(pixel_map(*pixel_map.inverse(x, y)), [x, y], rtol=0, atol=1e-8)


@settings(settings.get_profile("mapping"))
@given(ra=RA, dec=DEC, roll_deg=ROLL, margin_px=st.integers(0, 9))
def test_shares_add_up_to_the_pixels_covered(ra, dec, roll_deg, margin_px):
    frame, tessellation = small_frame(ra, dec, roll_deg=roll_deg), small_tessellation(ra, dec)
    mapping = map_frame(frame, tessellation, margin_px=margin_px, reference=REFERENCE)
    covered = (mapping.owners[frame.science.slices] >= 0).sum()
    shared = sum(member.shared_px for member in mapping.members)
    assert shared == pytest.approx(covered, rel=1e-9)  # weights sum to one
    assert covered <= 40 * 36
    used = set(np.unique(mapping.owners)) - {-1}
    assert used <= set(range(len(mapping.members)))
