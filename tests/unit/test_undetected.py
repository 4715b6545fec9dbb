"""Undetected light: what it adds to uncertainties, and how it comes back as a smooth sheet."""

from types import SimpleNamespace

import numpy as np
import pytest

from syndiff.scenes.undetected import counted_variance, left_out_light, smooth_faint_light
from syndiff.stacks.coding import asinh_encode


def skycell_with(area, *, bands=("r", "i"), shine=0.0):
    """Return 40 x 40 cells of 1024 pixels, a part of whose sky is detected; stars shine there."""
    shape = (40, 40)
    empty = 0.02 * 1024
    lit = np.random.default_rng(4).random(shape) < area
    variance = np.stack([np.where(lit, empty + shine, 0), np.where(lit, 0, empty)])
    return SimpleNamespace(
        bands=bands,
        variances=np.stack([variance.astype(np.float32)] * len(bands)),
        count=np.full((len(bands), *shape), 1024, np.uint16),
    )


@pytest.mark.parametrize("area", [0.0, 0.3])
def test_everything_counts_where_everything_is_in(area):
    detected, undetected = counted_variance(skycell_with(area), "none")
    assert undetected == 1
    assert (detected == 1).all()


@pytest.mark.parametrize(("background", "peaks"), [("matched", 0.165), ("sep", 0.015)])
def test_empty_sky_counts_the_peaks_of_its_noise(background, peaks):
    detected, undetected = counted_variance(skycell_with(0.0), background)
    assert (detected > 1).all()
    assert undetected == pytest.approx(peaks)


@pytest.mark.parametrize(("background", "power"), [("matched", 1), ("sep", 0.5)])
def test_more_sources_leave_out_more(background, power):
    found = [counted_variance(skycell_with(a), background)[1] for a in (0.0, 0.1, 0.2, 0.4)]
    assert (np.diff(found) > 0).all()
    # but for the peaks of the noise alone
    assert found[3] - found[0] == pytest.approx(4**power * (found[1] - found[0]), rel=0.3)


def test_the_noise_of_stars_themselves_is_no_detected_area():
    dim, bright = (counted_variance(skycell_with(0.1, shine=s), "matched")[1] for s in (0.0, 1e6))
    assert dim == pytest.approx(bright, rel=1e-3)


def test_a_skycell_without_data_counts_what_noise_does():
    empty = skycell_with(0.0)
    empty.count[:] = 0
    assert counted_variance(empty, "matched")[1] == pytest.approx(0.165)


def with_extended_light(skycell):
    """All is detected in 10 x 10 of the cells."""
    undetected = skycell.variances[:, 1, 20:30, 20:30]
    skycell.variances[:, 0, 20:30, 20:30] += undetected
    undetected[:] = 0
    return skycell


def test_nothing_is_cut_off_within_extended_light():
    detected, undetected = counted_variance(with_extended_light(skycell_with(0.1)), "matched")
    wanted = np.full((40, 40), detected[0, 0])
    wanted[20:30, 20:30] = 1
    assert (detected != wanted).sum() < 10  # detected cells may touch it
    assert detected[0, 0] > 1
    # what is not detected elsewhere doesn't depend on it, but for which cells are left to tell
    plain = counted_variance(skycell_with(0.1), "matched")[1]
    assert undetected == pytest.approx(plain, rel=0.02)


def test_smoothing_brings_noise_back_with_the_light():
    """Nearly all for a narrow Gaussian, only the level's for a wide one; light is left likewise."""
    skycell = skycell_with(0.3)
    out = counted_variance(skycell, "sep")[1]
    narrow, wide = (counted_variance(skycell, "sep", width)[1] for width in (1.0, 300.0))
    assert narrow == pytest.approx(1.16, abs=0.02)
    assert wide == pytest.approx(out + 0.16, rel=0.05)


def test_smoothed_light_is_kept():
    """All of it, and where it was but for the width."""
    faint = np.zeros((60, 60), np.float32)
    faint[30, 20] = 100.0
    count = np.full((60, 60), 1024, np.uint16)
    smooth = smooth_faint_light(faint, count, 24.0)
    assert smooth.sum() == pytest.approx(100.0, rel=1e-4)
    y, x = np.mgrid[:60, :60] - np.array([30, 20])[:, None, None]
    wanted = 100 * np.exp(-(x**2 + y**2) / (2 * 3.0**2)) / (2 * np.pi * 3.0**2)
    # 4 standard deviations is as far as the filter reaches
    np.testing.assert_allclose(smooth, wanted, atol=1e-3)


def test_a_sheet_of_light_has_no_edges():
    """Neither a skycell's end nor a gap dims what is beside it, and a gap stays dark."""
    count = np.full((50, 40), 1024, np.uint16)
    count[20:25, 10:30] = 0
    count[:, -1] = 256  # juts out
    faint = 0.01 * count.astype(np.float32)
    smooth = smooth_faint_light(faint, count, 40.0)
    np.testing.assert_allclose(smooth, faint, rtol=1e-5)


def test_skycells_that_overlap_agree_on_smoothed_light():
    rng = np.random.default_rng(8)
    whole = rng.normal(1.0, 0.1, (60, 100)).astype(np.float32)
    count = np.full((60, 100), 1024, np.uint16)
    left, right = (
        smooth_faint_light(whole[:, part], count[:, part], 16.0)
        for part in (np.s_[:60], np.s_[40:])
    )
    # in the middle of what they share, five widths from either's end
    np.testing.assert_allclose(left[:, 50], right[:, 10], rtol=1e-4)


def left_out_sky(**changes):
    """60 x 60 cells with undetected light of 40 a cell in each of two bands."""
    skycell = skycell_with(0.0)
    shape = (60, 60)
    planes = {
        "variances": np.full((2, 2, *shape), 10.24, np.float32),
        "count": np.full((2, *shape), 1024, np.uint16),
        "faint": asinh_encode(np.full((2, *shape), 40.0), 4.0),
        "faint_sigma": np.full(2, 4.0),
        "level": np.full((2, 8, 8), 0.3, np.float32),
        "noise_correlation": 1.5,
    }
    return SimpleNamespace(**(vars(skycell) | planes | changes))


BOTH = 0.238 + 0.344
"""Weights of r and i."""


def test_what_is_left_out_is_told():
    light, error = left_out_light(left_out_sky(), "matched")
    # a code's step is 1/16 of sigma
    np.testing.assert_allclose(light, 40 * BOTH, rtol=0.01)
    # float32 sums, and cells at the rim of the boxes
    assert error.max() < 0.01


def test_the_error_of_what_is_left_out_is_its_noise():
    noise = np.random.default_rng(6).normal(40, 10, (2, 60, 60))
    _, error = left_out_light(left_out_sky(faint=asinh_encode(noise, 4.0)), "matched")
    # 0.0745 is the sum of squares of the weights of two boxes of nine, along an axis; a skycell of
    # 8 arcmin has some twenty independent places
    wanted = 10 * np.hypot(0.238, 0.344) * 0.0745
    np.testing.assert_allclose(error, wanted, rtol=0.35)


def test_a_level_that_stands_out_is_told_as_left_out_and_a_ripple_as_error():
    level = np.full((2, 8, 8), 0.3, np.float32)
    level[:, 3:5, 3:5] += 0.02
    light, error = left_out_light(left_out_sky(level=level), "matched")
    assert light[32, 32] == pytest.approx((40 + 0.02 * 1024) * BOTH, rel=0.03)
    assert light[2, 2] == pytest.approx(40 * BOTH, rel=0.01)
    assert error[2, 2] < 0.1 * (light[32, 32] - light[2, 2])
    waves = 0.3 + 0.01 * np.sin(np.arange(8)) + np.zeros((2, 8, 8), np.float32)
    _, error = left_out_light(left_out_sky(level=waves.astype(np.float32)), "matched")
    # 0.7 of the amplitude, of which the boxes leave a half or more
    assert 0.3 < error[2, 2] / (0.01 * 1024 * BOTH) < 1


def test_nothing_is_left_out_where_everything_is_in():
    assert not left_out_light(left_out_sky(), "none").any()
    # smoothed undetected light is in then
    light, _ = left_out_light(left_out_sky(), "matched", 30.0)
    assert not light.any()


def test_a_place_without_data_leaves_out_nothing():
    count = np.full((2, 60, 60), 1024, np.uint16)
    count[:, 10:14] = 0
    faint = asinh_encode(0.04 * count, 4.0)
    light, error = left_out_light(left_out_sky(count=count, faint=faint), "sep")
    assert not light[10:14].any()
    assert not error[10:14].any()
    np.testing.assert_allclose(light[[9, 14]], 0.04 * 1024 * BOTH, rtol=0.02)
