"""Whatever the pixels, no light is lost or made."""

import numpy as np
from array_planes import exact_planes
from hypothesis import given, settings
from hypothesis import strategies as st
from stackplanes import small_skycell

from syndiff.masks import StackMask
from syndiff.settings import Settings
from syndiff.stacks.detection import Detection
from syndiff.stacks.reduction import _split_band, asinh_decode, reduce_skycell
from syndiff.stacks.stack_sums import sum_strips

SETTINGS = Settings()
shapes = st.tuples(st.integers(40, 170), st.integers(40, 170))


def random_planes(rng, shape, *, holes=0.1, left_out=0.1):
    """Return planes of steep flux, holes anywhere, left-out pixels in the interior."""
    image = rng.normal(0, 1, shape) + np.minimum(rng.pareto(1.5, shape), 1e3)
    image[rng.random(shape) < holes] = np.nan
    variance = np.full(shape, 1.0)
    variance[rng.random(shape) < holes] = np.nan
    mask = np.where(rng.random(shape) < 0.05, 8, 0).astype(np.uint16)
    interior = np.zeros(shape, bool)
    interior[16:-16, 16:-16] = True
    mask[(rng.random(shape) < left_out) & interior] |= 4096
    return exact_planes(image.astype(np.float32), variance, mask)


def random_mask(rng, shape):
    """Return detected cells of 1", none within 4" of the edge, where the spline loses light."""
    detected = np.zeros([-(-n // 4) for n in shape], np.uint8)
    detected[4:-4, 4:-4] = rng.random(detected[4:-4, 4:-4].shape) < 0.4
    return detected


def valid_flux(planes):
    flux = planes.image.table[planes.image.array.view(np.uint16)].astype(float)
    variance = planes.variance.table[planes.variance.array.view(np.uint16)]
    keep = np.isfinite(flux) & np.isfinite(variance) & (planes.mask.array & 8 == 0)
    return np.where(keep, flux, 0)


@settings(max_examples=25, deadline=None)
@given(shapes, st.integers(0, 2**32 - 1))
def test_detected_undetected_left_out_and_level_are_all_the_light(shape, seed):
    rng = np.random.default_rng(seed)
    planes = random_planes(rng, shape)
    sums = sum_strips({"r": planes}, SETTINGS, 64)["r"]
    level = np.full([-(-n // 256) for n in shape], rng.normal(0, 3), np.float32)
    detection = Detection(random_mask(rng, shape), (level,), (np.zeros_like(level),), 1.0)
    light, left_out, left_out_count = _split_band(sums, detection, 0)
    pixels = light.counts.sum(dtype=float) + left_out_count.sum(dtype=float)
    total = light.light.sum(dtype=float) + left_out.sum() + light.faint.sum() + level[0, 0] * pixels
    flux = valid_flux(planes)
    # float32 planes
    assert abs(total - flux.sum()) <= 1e-6 * (np.abs(flux).sum() + abs(level[0, 0]) * pixels)


@settings(max_examples=10, deadline=None)
@given(shapes, st.integers(0, 2**32 - 1), st.sampled_from([0.25, 2.0, 64.0]))
def test_reduction_is_linear_in_flux(shape, seed, factor):
    planes = random_planes(np.random.default_rng(seed), shape)
    skycell = small_skycell(shape[1], shape[0])
    one = reduce_skycell({"r": planes}, skycell=skycell, settings=SETTINGS)
    planes.image.table *= np.float32(factor)
    planes.variance.table *= np.float32(factor**2)
    other = reduce_skycell({"r": planes}, skycell=skycell, settings=SETTINGS)
    # a power of two only shifts exponents, so codes may differ by a rounding of asinh at most
    for name in ("light", "left_out", "faint"):
        codes = getattr(one, name).astype(int)
        np.testing.assert_allclose(getattr(other, name), codes, atol=1, err_msg=name)
    np.testing.assert_allclose(other.light_sigma, one.light_sigma * factor, rtol=1e-12)


@settings(max_examples=10, deadline=None)
@given(shapes, st.integers(0, 2**32 - 1), st.integers(1, 200))
def test_strips_change_nothing(shape, seed, rows):
    planes = {"i": random_planes(np.random.default_rng(seed), shape)}
    skycell = small_skycell(shape[1], shape[0])
    one = reduce_skycell(planes, skycell=skycell, settings=SETTINGS)
    other = reduce_skycell(planes, skycell=skycell, settings=SETTINGS, strip_rows=rows)
    for name in ("light", "left_out", "faint", "level", "variance", "count", "mask", "valid"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_leaving_out_more_never_adds_light_counts(seed):
    rng = np.random.default_rng(seed)
    planes = {"r": random_planes(rng, (96, 90))}
    planes["r"].mask.array[rng.random((96, 90)) < 0.1] |= 32
    few, many = (
        reduce_skycell(
            planes,
            skycell=small_skycell(90, 96),
            settings=Settings(ignore_mask_bits=StackMask(bits)),
        )
        for bits in (4096, 4096 | 32)
    )
    assert (many.count <= few.count).all()
    np.testing.assert_array_equal(many.count + many.left_out_count, few.count + few.left_out_count)
    np.testing.assert_array_equal(many.flagged, few.flagged)
    np.testing.assert_array_equal(many.valid, few.valid)
    assert np.isfinite(asinh_decode(many.left_out[0], many.light_sigma[0])).all()
