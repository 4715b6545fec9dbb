"""A template's planes against whole-array passes."""

import numpy as np
import pytest

from syndiff.kernels.planes import Limits, Sampled, finish_planes, tally_pixels

LIMITS = Limits(np.float32(0.999), np.float32(0.5), np.int32(2), np.int32(1))


def whole_arrays(sampled, area, flags):
    """What the kernel does, plane by plane."""
    coverage = np.clip(sampled.coverage, 0, 1)
    quality = flags.astype(np.int32)
    quality[coverage < LIMITS.full] |= LIMITS.partial
    quality[coverage < LIMITS.least] |= LIMITS.nothing
    scaled = sampled.flux, np.sqrt(sampled.variance), sampled.faint, sampled.faint_error
    flux, deviation, *faint = (
        np.where(coverage < LIMITS.least, np.float32(np.nan), plane * area) for plane in scaled
    )
    counts, masked = (
        np.rint(plane * area).astype(np.int32) for plane in (sampled.counted, sampled.flagged)
    )
    return flux, deviation, coverage, *faint, counts, masked, quality


@pytest.mark.parametrize("shape", [(5, 37), (1, 1), (2, 64)])
def test_planes_agree_with_passes_over_whole_arrays(shape):
    rng = np.random.default_rng(shape[1])
    flux, variance, count, flagged, *faint = rng.gamma(1, 50, (6, *shape)).astype(np.float32)
    coverage = rng.choice([-0.1, 0.0, 0.4999, 0.5, 0.998, 0.999, 1.0, 1.1], shape)
    sampled = Sampled(flux, variance, count, flagged, coverage.astype(np.float32), *faint)
    sampled.counted[0, 0] = 2.5  # half: to the even number
    area = rng.choice([1.0, 0.25, 0.9], shape).astype(np.float32)
    area[0, 0] = 1
    flags = rng.choice(np.array([0, 0, 4, 48], np.uint8), shape)
    wanted = whole_arrays(Sampled(*(plane.copy() for plane in sampled)), area, flags)
    out = tuple(np.full(shape, -7, np.int32) for _ in range(3))
    finish_planes(sampled, area, flags, LIMITS, out)
    found = sampled.flux, sampled.variance, sampled.coverage, *sampled[-2:], *out
    for plane, right in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(plane, right)


@pytest.mark.parametrize("inside", [(0, 6, 0, 9), (1, 5, 2, 8), (3, 3, 0, 9), (0, 6, 4, 4)])
def test_tally_agrees_with_a_histogram(inside):
    rng = np.random.default_rng(sum(inside))
    flux = rng.choice([np.nan, np.inf, 0.0, 3.0], (6, 9)).astype(np.float32)
    quality = rng.choice([0, 0, 0, 1, 5, 1024], (6, 9)).astype(np.int32)
    pixels = np.ones(2048, np.int64)
    finite = tally_pixels(flux, quality, inside, pixels)
    part = np.s_[inside[0] : inside[1], inside[2] : inside[3]]
    assert finite == np.isfinite(flux[part]).sum()
    np.testing.assert_array_equal(pixels - 1, np.bincount(quality[part].ravel(), minlength=2048))
