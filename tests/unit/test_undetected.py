"""Undetected light: what it adds to uncertainties, and how it comes back as a smooth sheet."""

from types import SimpleNamespace

import numpy as np
import pytest

from syndiff.scenes.undetected import counted_variance, smooth_faint_light


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
    assert counted_variance(skycell_with(area), "none") == (1.0, 1.0)


@pytest.mark.parametrize(("background", "peaks"), [("matched", 0.165), ("sep", 0.015)])
def test_empty_sky_counts_the_peaks_of_its_noise(background, peaks):
    detected, undetected = counted_variance(skycell_with(0.0), background)
    assert detected > 1
    assert undetected == pytest.approx(peaks)


@pytest.mark.parametrize(("background", "power"), [("matched", 1), ("sep", 0.5)])
def test_more_sources_leave_out_more(background, power):
    found = [counted_variance(skycell_with(a), background)[1] for a in (0.0, 0.1, 0.2, 0.4)]
    assert (np.diff(found) > 0).all()
    # but for the peaks of the noise alone
    assert found[3] - found[0] == pytest.approx(4**power * (found[1] - found[0]), rel=0.3)


def test_the_noise_of_stars_themselves_is_no_detected_area():
    dim, bright = (counted_variance(skycell_with(0.1, shine=s), "matched") for s in (0.0, 1e6))
    assert dim == pytest.approx(bright, rel=1e-3)


def test_a_skycell_without_data_counts_what_noise_does():
    empty = skycell_with(0.0)
    empty.count[:] = 0
    assert counted_variance(empty, "matched")[1] == pytest.approx(0.165)


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
