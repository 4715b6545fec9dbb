"""Pixels at RA 0, at the pole and at the edge of PS1's data against GalSim, through the command."""

import numpy as np
import pytest

from benchmarks.places import PLACES, compare
from syndiff.masks import DataQuality

RMS, LARGEST, FLUX = 5e-5, 3e-4, 5e-5
"""As elsewhere: see `rendered`."""

OF_TESS = DataQuality.TESS_STRAP | DataQuality.TESS_SATURATED | DataQuality.TESS_BLEED
NAMES = {place.name: place for place in PLACES}


def measured(name, tmp_path, **options):
    place = NAMES[name]
    sky = place.sky(**options)
    simulation = place.make(sky, tmp_path / "sky")
    product, truth = compare(sky, simulation, tmp_path / "data")
    return sky, product, truth


def check(product, truth, where):
    error = (product.flux - truth)[where] / truth.max()
    assert np.sqrt((error**2).mean()) < RMS
    assert abs(error).max() < LARGEST
    assert abs(product.flux[where].sum() / truth[where].sum() - 1) < FLUX


@pytest.mark.parametrize(
    "name", ["RA 0", *(pytest.param(name, marks=pytest.mark.full) for name in ("dec 89.3", "pole"))]
)
def test_pixels_where_coordinates_are_odd(name, tmp_path):
    sky, product, truth = measured(name, tmp_path)
    ra = np.array([place.ra.deg % 360 for place in sky.places])
    assert len(sky.plan.skycells) >= 2
    if name == "RA 0":
        assert ra.min() < 1
        assert ra.max() > 359
    assert not (product.planes["DQ"] & ~OF_TESS).any()
    check(product, truth, np.s_[:])


def test_pixels_at_the_edge_of_the_surveys_data(tmp_path):
    _, product, truth = measured("edge of the data", tmp_path)
    quality, coverage = product.planes["DQ"] & ~OF_TESS, product.planes["COVERAGE"]
    assert 0.2 < (coverage < 0.5).mean() < 0.8
    np.testing.assert_array_equal(np.isfinite(product.flux), coverage >= 0.5)
    right = quality == 0
    assert 0.1 < right.mean() < 0.6
    error = abs(product.flux - truth)[right]
    assert (error < np.maximum(0.01 * truth[right], product.planes["UNCERT"][right])).all()
    check(product, truth, coverage == 1)


@pytest.mark.full
@pytest.mark.parametrize("name", NAMES)
def test_whole_skycells_of_the_survey(name, tmp_path):
    _, product, truth = measured(name, tmp_path, is_cut=False)
    check(product, truth, product.planes["COVERAGE"] == 1)
