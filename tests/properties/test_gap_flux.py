"""A star on a gap: what one band lacks, the others bring by the star's own colour."""

import numpy as np
import pytest
from array_planes import exact_planes
from scipy.special import erf
from smallsky import small_catalogue

from syndiff.config import BAND_WEIGHTS, BANDS
from syndiff.masks import DataQuality
from syndiff.scenes.combine import combine
from syndiff.settings import Settings
from syndiff.sky.sharing import sharing_of
from syndiff.sky.tessellation import Tessellation
from syndiff.stacks.reduction import reduce_skycell

GAP = np.s_[100:300, 194:206]
"""12 pixels wide: neither on the borders of cells nor wider than a star."""

LOCUS = np.array([-1.0, 0.0, 0.46, 0.7])


def star_in(shape, x, y, sigma=2.0):
    along = [
        np.diff(erf((np.arange(n + 1) - 0.5 - c) / (np.sqrt(2) * sigma))) / 2
        for n, c in zip(shape, (y, x), strict=True)
    ]
    return np.outer(*along)


def combined_with_gap(lost, shift, *, r_minus_i):
    """A skycell of 1000 x 1000 pixels with a star of flux 1000 beside three of another colour."""
    lines = small_catalogue(across=2).splitlines()
    tessellation = Tessellation.from_csv("\n".join(lines[:2]).encode())
    (skycell,) = tessellation
    flux, usual = (10 ** (0.4 * LOCUS * colour) for colour in (r_minus_i, 0.3))
    flux = 1000 * flux / (flux @ np.array(BAND_WEIGHTS))
    star = star_in(skycell.shape, 199.8 + shift, 200.2)
    others = sum(star_in(skycell.shape, x, y) for x, y in ((700, 300), (300, 700), (800, 800)))
    planes = {}
    for k, band in enumerate(BANDS):
        image = (flux[k] * star + 3000 * usual[k] * others + 1e-9).astype(np.float32)
        if band in lost:
            image[GAP] = np.nan
        no_mask = np.zeros(skycell.shape, np.uint16)
        planes[band] = exact_planes(image, np.full(skycell.shape, 1e-4), no_mask)
    reduced = reduce_skycell(planes, skycell=skycell, settings=Settings())
    return combine(
        reduced,
        skycell=skycell,
        sharing=sharing_of(tessellation, skycell),
        holes={},
        settings=Settings(background="none"),
    )


@pytest.mark.parametrize("shift", [0, 6, 9])
@pytest.mark.parametrize(("band", "r_minus_i"), [("i", 0.8), ("r", 0.8), ("i", 0.0)])
def test_a_star_on_a_gap_in_one_band_keeps_its_flux(band, r_minus_i, shift):
    found = combined_with_gap(band, shift, r_minus_i=r_minus_i)
    flux = found.light[13:38, 13:38].sum(dtype=float)
    # Without its colour it would be 5 to 7 %, without the other bands 24 to 38 %.
    assert flux == pytest.approx(1000, rel=0.025)
    assert found.flags[25, 25] == DataQuality.MISSING_BAND


def test_a_star_on_the_rim_of_a_gap_in_all_bands_is_flagged():
    found = combined_with_gap(BANDS, 6, r_minus_i=0.3)
    assert found.light[13:38, 13:38].sum(dtype=float) < 900
    beside = found.flags[24:27, 24:26]
    assert (beside & DataQuality.LEFT_OUT_LIGHT).any()
    # far from light the gap is but a gap
    assert not found.flags[14:19, 22:28].any()
