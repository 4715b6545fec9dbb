"""Rings subtracted by the kernel and by a slow twin."""

import numpy as np
import pytest

from syndiff.kernels.rings import subtract_rings


def slow_rings(planes, rings, corner, last):
    rows, columns = (slice(c, c + n) for c, n in zip(corner, rings.shape, strict=True))
    for plane in planes:
        patch = plane[rows, columns]
        far = patch[(rings >= last - 2) & (rings <= last)]
        level = float(np.median(far)) if far.size else 0.0
        fading = 0
        for ring in range(last - 2):
            cells = rings == ring
            if not cells.any():
                continue
            wing = float(np.median(patch[cells])) - level
            fading = 0 if wing > 0 else fading + 1
            if fading == 2:
                break
            patch[cells] -= np.float32(max(wing, 0.0))


def planes_of(seed, *, slope):
    """A star's wings in noise, in two bands."""
    rng = np.random.default_rng(seed)
    y, x = np.indices((60, 70))
    wings = 300 / (1 + np.hypot(x - 33.3, y - 24.8)) ** slope
    return (wings + rng.normal(0, 1, (2, 60, 70))).astype(np.float32)


def rings_of(corner, shape, *, cut):
    y, x = np.indices(shape)
    distance = np.hypot(x + corner[1] - 33.3, y + corner[0] - 24.8)
    rings = distance.astype(np.int64)
    rings[distance < cut] = -1
    return rings


@pytest.mark.parametrize("slope", [0.5, 2.5])
@pytest.mark.parametrize("cut", [0, 4.2])
@pytest.mark.parametrize("last", [0, 2, 3, 9, 20])
def test_rings_match_their_slow_twin_bit_for_bit(slope, cut, last):
    corner, shape = (4, 10), (45, 50)
    rings = rings_of(corner, shape, cut=cut)
    fast, slow = (planes_of(last, slope=slope) for _ in range(2))
    before = fast.copy()
    subtract_rings(fast, rings, corner, last)
    slow_rings(slow, rings, corner, last)
    np.testing.assert_array_equal(fast, slow)
    # nothing was subtracted only where every ring is within the level or the core
    assert (fast != before).any() == (last - 2 > cut)


def test_equal_values_have_a_median():
    planes = np.full((1, 20, 20), 5, np.float32)
    rings = rings_of((20, 20), (8, 8), cut=0) * 0
    rings[4:] = 5
    planes[0, 10:14, 5:13] = 7
    subtract_rings(planes, rings, (10, 5), 5)
    assert (planes[0, 10:14, 5:13] == 5).all()
